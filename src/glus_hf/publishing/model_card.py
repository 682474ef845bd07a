"""The card of a published checkpoint, made from what is in its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import UserError
from .card_facts import FAMILY_FACTS, parent_of


LIBRARY = "glus_hf"
TEMPLATES = ("# Model Card for Model ID", "generated automatically according to the information the Trainer had")
"""Marks of the cards that peft and transformers write."""


@dataclass(frozen=True)
class CardOptions:
    """What a card says beside the files.

    Attributes:
        base_model: alias or name on the Hub of the model that this one was trained from.
        datasets: names of the datasets of its training.
        results: of evaluations.
        licence: the Hub's word for it; by default that of the base model, where it is known.
        tags: further tags.
        training: settings of the training, name and value.
    """

    base_model: str | None = None
    datasets: Sequence[str] = ()
    results: Sequence[EvalResult] = ()
    licence: str | None = None
    tags: Sequence[str] = ()
    training: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointFacts:
    """What the files of a checkpoint tell.

    Attributes:
        model_type: family; of an adapter that of its base.
        num_parameters: in the weight files.
        dtypes: as safetensors has them: "F32", "BF16", ...
        is_adapter: of peft, not a whole model.
        has_code: remote code is among the files.
    """

    model_type: str
    num_parameters: int
    dtypes: tuple[str, ...]
    is_adapter: bool = False
    has_code: bool = False


def write_card(repo_id: str, facts: CheckpointFacts, options: CardOptions) -> ModelCard:
    """A card for a repository: metadata, a snippet that runs, results, limits, licences. No path of this machine.

    Raises:
        UserError: the family is not one of ours; one line.

    Example:
        >>> card = write_card("me/shapes", CheckpointFacts("glus", 2_380_000, ("F32",)), CardOptions("glus-tiny"))
        >>> card.data.library_name, card.data.license, "2,380,000 parameters" in card.text
        ('glus_hf', 'apache-2.0', True)
    """
    if facts.model_type not in FAMILY_FACTS:
        raise UserError(f"a {facts.model_type[:60]!r} model has no card here; use one of {', '.join(FAMILY_FACTS)}")
    data = _metadata(repo_id, facts, options)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(repo_id, facts, options)}")


def is_template(text: str) -> bool:
    """Whether a card is the form that peft or transformers leave, not one that somebody wrote.

    Example:
        >>> is_template("# Model Card for Model ID"), is_template("# My model")
        (True, False)
    """
    return any(mark in text for mark in TEMPLATES)


def with_results(card: ModelCard, repo_id: str, results: Sequence[EvalResult]) -> ModelCard:
    """The card with results added; one of the same dataset, split and metric is replaced."""
    kept = [old for old in card.data.eval_results or [] if not any(old.is_equal_except_value(new) for new in results)]
    card.data.eval_results = [*kept, *results]
    card.data.model_name = card.data.model_name or repo_id.split("/")[-1]
    return card


def _metadata(repo_id: str, facts: CheckpointFacts, options: CardOptions) -> ModelCardData:
    family, parent = FAMILY_FACTS[facts.model_type], parent_of(options.base_model)
    tags = [*family.tags, *(["peft", "lora"] if facts.is_adapter else []), *options.tags]
    return ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=family.pipeline_tag,
        license=options.licence or (parent.licence if parent else None),
        base_model=_hub_base(options.base_model),
        datasets=list(options.datasets) or None,
        tags=list(dict.fromkeys(tags)),
        model_name=repo_id.split("/")[-1],
        eval_results=list(options.results) or None,
        ignore_metadata_errors=True,
    )


def _hub_base(base_model: str | None) -> str | None:
    """`base_model` is a name of the Hub: an alias stands for one, or has none."""
    parent = parent_of(base_model)
    name = parent.hub if parent else base_model
    return name if name and "/" in name else None


def _text(repo_id: str, facts: CheckpointFacts, options: CardOptions) -> str:
    family = FAMILY_FACTS[facts.model_type]
    parts = [f"# {repo_id.split('/')[-1]}", f"{family.summary} {_size(facts)}".strip(), "## Use", _use(repo_id, facts)]
    parts += _section("Training", _training(options))
    parts += _section("Results", _results(options.results))
    parts += ["## Limits", "\n".join(f"- {limit}" for limit in (*family.limits, *_results_limit(options)))]
    parts += ["## Licence", _licence(options)]
    return "\n\n".join(parts) + "\n"


def _size(facts: CheckpointFacts) -> str:
    if not facts.num_parameters:
        return ""
    size = f"{facts.num_parameters:,} parameters ({', '.join(facts.dtypes)})"
    return f"An adapter (LoRA) of {size}; its base is loaded with it." if facts.is_adapter else f"It has {size}."


def _use(repo_id: str, facts: CheckpointFacts) -> str:
    snippet = FAMILY_FACTS[facts.model_type].snippet.replace("{name}", repo_id)
    text = f"```bash\npip install glus-hf\n```\n\n```python\n{snippet}\n```"
    if facts.has_code:
        text += "\n\nWithout the package, `AutoModel.from_pretrained` loads it with `trust_remote_code=True`."
    return text


def _section(title: str, text: str) -> list[str]:
    return [f"## {title}", text] if text else []


def _training(options: CardOptions) -> str:
    rows = [("starts from", f"`{options.base_model}`")] if options.base_model else []
    rows += [("datasets", ", ".join(options.datasets))] if options.datasets else []
    rows += [(name, str(value)) for name, value in options.training.items()]
    return _table(("setting", "value"), rows) if rows else ""


def _results(results: Sequence[EvalResult]) -> str:
    rows = [(r.dataset_name, r.dataset_split or "", r.metric_name or r.metric_type, r.metric_value) for r in results]
    return _table(("dataset", "split", "metric", "value"), rows) if rows else ""


def _results_limit(options: CardOptions) -> tuple[str, ...]:
    if options.results:
        return ()
    return ("It was not evaluated, or its results are not given here: measure it on your own footage before use.",)


def _licence(options: CardOptions) -> str:
    parent = parent_of(options.base_model)
    own = f"This model: {options.licence}." if options.licence else ""
    if parent:
        return f"{own} Base model `{options.base_model}`: {parent.said}".strip()
    if options.base_model:
        return f"{own} The licence of the base model, `{options.base_model}`, goes with it.".strip()
    return own or "Its author has not stated a licence."


def _table(header: tuple[str, ...], rows: Sequence[tuple]) -> str:
    line = lambda cells: f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


__all__ = ["LIBRARY", "CardOptions", "CheckpointFacts", "is_template", "with_results", "write_card"]
