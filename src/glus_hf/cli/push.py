"""`glus-hf push`: a folder becomes a repository of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json
from .output import echo, print_json, set_progress


def push(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Saved model, adapter, or bundled model.")],
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hub; it is made if need be.")],
    revision: Annotated[str | None, typer.Option(help="Branch to push to; it is made if need be.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of a commit.")] = False,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.")] = None,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Add the model's code, for trust_remote_code=True without glus-hf.")
    ] = False,
    results: Annotated[
        list[Path] | None, typer.Option(help="Output folder of glus-hf evaluate: scores for the card; repeatable.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Alias or Hub name of the model that this one was trained from.")
    ] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Dataset it was trained on; repeatable.")] = None,
    licence: Annotated[
        str | None, typer.Option("--license", help="Licence, by the Hub's word; by default the base model's if known.")
    ] = None,
    new_card: Annotated[
        bool, typer.Option("--new-card", help="Write a new card although the folder or the repository has one.")
    ] = False,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No list of files and no progress bars.")] = False,
) -> None:
    """Push a model to the Hub as a whole repository, in one commit. Log in first: `hf auth login`, or set HF_TOKEN."""
    from ..hub import resolve_checkpoint
    from ..publishing.model_card import CardOptions
    from ..publishing.push import PushOptions, push_folder
    from ..publishing.repository_files import read_repository
    from ..publishing.run_results import read_results

    set_progress(quiet)
    folder = resolve_checkpoint(folder)
    found = [result for run in results or () for result in read_results(run)]
    repository = read_repository(folder, base_model)
    if not quiet and not as_json and repository.left_out:
        echo(f"Not pushed: {', '.join(repository.left_out)}", err=True)
    card = CardOptions(base_model, tuple(dataset or ()), tuple(found), licence)
    private_or_default = True if private else None
    options = PushOptions(
        revision, private_or_default, message, create_pr=create_pr, with_code=with_code, new_card=new_card
    )
    commit = push_folder(folder, repo, options, card)
    if as_json:
        print_json({"repo": commit.repo_url.repo_id, "commit": commit.oid, "url": commit.pr_url or commit.commit_url})
    elif not quiet:
        echo(f"Pushed: {commit.pr_url or commit.commit_url}")
