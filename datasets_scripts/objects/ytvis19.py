"""YouTube-VIS 2019. Layout: docs/object-datasets.md."""

from glus_hf.data.objects.youtube_vis_builder import YouTubeVISBuilder


class YTVIS19(YouTubeVISBuilder):
    """YouTube-VIS 2019: 40 categories, every fifth frame of videos with tracked masks."""

    FOLDERS = ("ytvis_2019", "ytvis19", "YouTube-VIS-2019", "youtube_vis_2019")
