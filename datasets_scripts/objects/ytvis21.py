"""YouTube-VIS 2021. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.youtube_vis_builder import YouTubeVISBuilder


class YTVIS21(YouTubeVISBuilder):
    """YouTube-VIS 2021: 40 categories, every fifth frame of videos with tracked masks."""

    FOLDERS = ("ytvis_2021", "ytvis21", "YouTube-VIS-2021", "youtube_vis_2021")
