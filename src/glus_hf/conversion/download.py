"""Folders of the Hub on this machine, downloaded if need be. Nothing that is downloaded is executed."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from ..hub_access import hub_failure


CLIP_REPO = "openai/clip-vit-large-patch14"
PINNED_REVISIONS = {CLIP_REPO: "32bd64288804d66eefd0ccbe215aa642df71cc41"}
"""Commits to download; other repositories at their branch "main", unless the caller knows better."""

WEIGHT_PATTERNS = (["model*.safetensors", "model.safetensors.index.json"], ["pytorch_model*.bin*"])
MESSAGE_LENGTH = 240  # of the Hub's; a second line says that a repository is gated
CLIP_PATTERNS = ["config.json", "preprocessor_config.json"]


def download_folder(repo: str, patterns: list[str], remedy: str, revision: str | None = None) -> Path:
    """Download the files of a Hub repository that match `patterns` and its weights (safetensors before .bin).

    Args:
        repo (`str`): "owner/name".
        patterns (`list[str]`): of files to download beside the weights.
        remedy (`str`): what to do without the Hub, for the message.
        revision (`str`, *optional*): commit, tag or branch; by default the pinned one, or "main".

    Returns:
        The folder in the cache of `huggingface_hub`.

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded; one line that ends with `remedy`.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = revision or PINNED_REVISIONS.get(repo, "main")
    failure = hub_failure()
    options = {"revision": revision, "local_files_only": failure is not None}  # else all is tried for half a minute
    try:
        for weights in WEIGHT_PATTERNS:
            folder = Path(snapshot_download(repo, allow_patterns=[*patterns, *weights], **options))
            if not folder.is_dir():  # a mirror that names the commit otherwise
                folder = Path(hf_hub_download(repo, "config.json", **options)).parent
            if any(path.suffix in (".safetensors", ".bin") for path in folder.iterdir()):
                break
    except Exception as error:  # which ones depends on the HTTP library, and that on the version of huggingface_hub
        is_absent = isinstance(error, LocalEntryNotFoundError) and failure is not None
        reason = failure if is_absent else " ".join(str(error).split())[:MESSAGE_LENGTH] or type(error).__name__
        raise CheckpointError(f"{repo}: is not cached and cannot be downloaded ({reason}); {remedy}") from None
    return folder


def download_file(repo: str, name: str, remedy: str, revision: str = "main", repo_type: str = "model") -> Path:
    """One file of a Hub repository, from the cache or downloaded.

    Args:
        repo, name (`str`): "owner/name" and the path in it.
        remedy (`str`): what to do without the Hub, for the message.
        revision (`str`): commit, tag or branch.
        repo_type (`str`): "model" or "space".

    Raises:
        CheckpointError: it is not in the cache and cannot be downloaded; one line that ends with `remedy`.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, name, revision=revision, repo_type=repo_type))
    except Exception as error:  # see download_folder
        reason = " ".join(str(error).split())[:MESSAGE_LENGTH] or type(error).__name__
        raise CheckpointError(f"{repo}: is not cached and cannot be downloaded ({reason}); {remedy}") from None


def full_commit(repo: str, start: str) -> str | None:
    """The whole hash of the commit of a Hub repository that begins with `start`; None if the Hub does not tell."""
    from huggingface_hub import HfApi

    if hub_failure() is not None:
        return None
    try:
        HfApi().model_info(repo, revision="main")  # an error here is no reason to try the next for half a minute
        hashes = [commit.commit_id for commit in HfApi().list_repo_commits(repo)]
    except Exception:  # as above; without its history the branch is followed, and the caller says where it is
        return None
    return next((commit for commit in hashes if commit.startswith(start)), None)


def clip_folder(clip: str | Path) -> tuple[Path, str]:
    """A CLIP folder, downloaded if `clip` is no folder but a name on the Hub; and what to call it."""
    path = Path(clip)
    if path.is_dir():
        return path, path.name
    if str(clip).count("/") != 1 or str(clip)[0] in "./~":
        raise CheckpointError(f"{clip}: no such CLIP folder; pass the folder of {CLIP_REPO} or its name")
    remedy = f"download it elsewhere (hf download {clip}) and pass --clip FOLDER"
    return download_folder(str(clip), CLIP_PATTERNS, remedy), str(clip)


__all__ = ["CLIP_REPO", "clip_folder", "download_file", "download_folder", "full_commit"]
