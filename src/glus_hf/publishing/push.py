"""Push a checkpoint to the Hub: everything is uploaded first, and one commit at the end makes it the repository.

What is cut off before the commit changes nothing there, and nothing is written here; large files that had arrived are
not sent again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    EvalResult,
    HfApi,
    ModelCard,
    constants,
    errors,
)

from ..errors import CheckpointError, UserError
from ..hub_access import explain_hub_error
from .model_card import CardOptions, is_template, with_results, write_card
from .repository_files import README, Repository, is_stale, read_repository


_REFUSALS = {
    401: "the Hub does not know you; log in with `hf auth login`, or set HF_TOKEN",
    403: "you may not write there; use a token that may, or your own name",
    412: "somebody pushed at the same time; push again",
}


@dataclass(frozen=True)
class PushOptions:
    """Where a repository goes, and how.

    Attributes:
        revision: branch; made if it is not there. Default: the main branch.
        private: of a repository that is made now.
        message: of the commit.
        description: of the commit, below its message.
        create_pr: open a pull request instead of changing the branch.
        token: of the Hub; by default that of `hf auth login` or HF_TOKEN.
        with_code: add the code of the classes, so that it loads with `trust_remote_code=True` without the package.
        new_card: write a new card where the folder or the repository has one.
    """

    revision: str | None = None
    private: bool | None = None
    message: str | None = None
    description: str | None = None
    create_pr: bool = False
    token: str | bool | None = None
    with_code: bool = False
    new_card: bool = False


def push_folder(
    folder: str | os.PathLike, repo_id: str, options: PushOptions | None = None, card: CardOptions | None = None
) -> CommitInfo:
    """Push the folder of a checkpoint as a whole repository, in one commit.

    Weights of an earlier model that would be read in the place of the new ones are removed in the same commit. The
    card is the folder's own README.md, else the repository's, else a new one; results are added to it. Training
    states, pickles, logs and folders stay here.

    Args:
        folder: of a model and its processor (`save_pretrained`, `glus-hf train`, `convert`), or of an adapter.
        repo_id: "owner/name", or "name" for your own.
        options: where and how.
        card: what a new card says.

    Returns:
        The commit: `oid`, `commit_url`, `repo_url`.

    Raises:
        CheckpointError: the folder is no checkpoint or holds a path of this machine, or the Hub refuses or cannot be
            reached; one line. The repository is as it was.

    Example:
        >>> push_folder("my-glus", "me/my-glus").commit_url  # doctest: +SKIP
        'https://huggingface.co/me/my-glus/commit/…'
    """
    options, card = options or PushOptions(), card or CardOptions()
    repository = read_repository(folder, card.base_model, options.with_code)
    with _hub_errors(repo_id):
        api = HfApi(endpoint=constants.ENDPOINT, token=options.token)
        repo_id = api.create_repo(repo_id, private=options.private, exist_ok=True).repo_id
        if options.revision is not None and not options.revision.startswith("refs/pr"):
            api.create_branch(repo_id, branch=options.revision, exist_ok=True)
        info = api.repo_info(repo_id, revision=options.revision)
        there = [sibling.rfilename for sibling in info.siblings or ()]
        _refuse_mixture(repository, repo_id, there)
        files = {**repository.files, README: _card_bytes(api, repository, repo_id, there, options, card)}
        operations = [CommitOperationAdd(name, _content(file)) for name, file in sorted(files.items())]
        operations += [CommitOperationDelete(name) for name in there if is_stale(name, files)]
        return _commit(api, repo_id, operations, info.sha, options)


def push_saved(
    save: Callable[[Path], object],
    repo_id: str,
    options: PushOptions | None = None,
    card: CardOptions | None = None,
) -> CommitInfo:
    """Save into a temporary folder and push that; see [`push_folder`].

    Args:
        save: writes the checkpoint into the folder that it is called with.
        repo_id, options, card: as for [`push_folder`].
    """
    with tempfile.TemporaryDirectory(prefix="glus-hf-push-") as folder:
        save(Path(folder))
        return push_folder(folder, repo_id, options, card)


def push_results(repo_id: str, results: list[EvalResult], options: PushOptions | None = None) -> CommitInfo:
    """Add results of an evaluation to the card of a repository; those of the same data and metric are replaced.

    Raises:
        CheckpointError: the Hub refuses, has no such repository, or cannot be reached; one line.

    Example:
        >>> push_results("me/my-glus", read_results("outputs/mevis-valid_u"))  # doctest: +SKIP
    """
    options = options or PushOptions()
    with _hub_errors(repo_id):
        api = HfApi(endpoint=constants.ENDPOINT, token=options.token)
        info = api.repo_info(repo_id, revision=options.revision)
        text = _remote_card(api, repo_id, info.sha) or f"---\n---\n\n# {repo_id.split('/')[-1]}\n"
        card = with_results(ModelCard(text, ignore_metadata_errors=True), repo_id, results)
        options = PushOptions(**{**vars(options), "message": options.message or "Add evaluation results"})
        return _commit(api, repo_id, [CommitOperationAdd(README, str(card).encode())], info.sha, options)


def _commit(api: HfApi, repo_id: str, operations: list, parent: str | None, options: PushOptions) -> CommitInfo:
    """The only call that changes the repository. It fails if somebody else pushed since `parent`."""
    return api.create_commit(
        repo_id,
        operations,
        commit_message=options.message or "Upload model with glus-hf",
        commit_description=options.description,
        revision=options.revision,
        create_pr=options.create_pr or None,
        parent_commit=parent,
    )


def _content(file: Path | bytes) -> str | bytes:
    return file if isinstance(file, bytes) else str(file)


def _refuse_mixture(repository: Repository, repo_id: str, there: list[str]) -> None:
    if repository.facts.is_adapter and "config.json" in there:
        raise CheckpointError(
            f"{repo_id}: holds a whole model, beside which an adapter is not read; push it to another repository"
        )


def _card_bytes(
    api: HfApi, repository: Repository, repo_id: str, there: list[str], options: PushOptions, card: CardOptions
) -> bytes:
    text = None if options.new_card else repository.card
    if text is None and not options.new_card and README in there:
        text = _remote_card(api, repo_id, options.revision)
    if text is not None and not is_template(text):
        _refuse_local_paths(text, repo_id)
        if not card.results:
            return text.encode()
        return str(with_results(ModelCard(text, ignore_metadata_errors=True), repo_id, card.results)).encode()
    base = card.base_model or repository.base_model
    written = write_card(repo_id, repository.facts, CardOptions(**{**vars(card), "base_model": base}))
    return str(written).encode()


def _remote_card(api: HfApi, repo_id: str, revision: str | None) -> str | None:
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = api.hf_hub_download(repo_id, README, revision=revision, local_dir=folder)
            return Path(file).read_text(encoding="utf-8")
    except errors.EntryNotFoundError:
        return None


def _refuse_local_paths(text: str, repo_id: str) -> None:
    """A card that somebody wrote may be pushed as it is, unless it tells where things are on this machine."""
    for place in {str(Path.home()), os.getcwd()} - {"/", "."}:
        if place in text:
            raise UserError(f"{README}: names {place}, a path of this machine; take it out or write a new card")


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """What the Hub, or the way to it, has to do with an error, in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in _REFUSALS:
            raise CheckpointError(f"{repo_id}: {_REFUSALS[status]}; the repository is as it was") from error
        message = explain_hub_error(repo_id, error)
        if message is None:
            raise
        raise CheckpointError(f"{message}; the repository is as it was") from error


__all__ = ["PushOptions", "push_folder", "push_results", "push_saved"]
