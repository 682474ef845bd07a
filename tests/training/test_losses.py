"""The object contrastive loss against values worked out by hand."""

import math

import pytest
import torch

from glus_hf.training.losses import NO_TOKEN, EmbeddingBank, ObjectContrastiveLoss, token_ids


def ids(*rows):
    """(video, expression, frame, objects) per token; different videos need different numbers everywhere."""
    return torch.tensor(rows)


# objects A and B in frames 0 and 1; A has two expressions
A0, A0_TOO, A1, A1_TOO, B0 = (1, 10, 100, 7), (1, 11, 100, 7), (1, 10, 101, 7), (1, 11, 101, 7), (1, 12, 100, 8)
OTHER_VIDEO = (2, 20, 200, 9)


def loss(**options):
    return ObjectContrastiveLoss(**{"num_negatives": 2, "temperature": 0.5, **options})


def test_by_hand():
    """Two anchors with one positive each and two negatives: the whole formula."""
    embeddings = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 5.0], [-1.0, 0.0]], requires_grad=True)
    term = loss()(embeddings, ids(A0, A0_TOO, B0, OTHER_VIDEO))
    half = math.sqrt(0.5)  # cosine of 45 degrees
    first = -math.log(math.exp(half / 0.5) / (math.exp(half / 0.5) + math.exp(0) + math.exp(-1 / 0.5)))
    second = -math.log(math.exp(half / 0.5) / (math.exp(half / 0.5) + math.exp(half / 0.5) + math.exp(-half / 0.5)))
    assert term.num_anchors == 2
    assert term.loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_gradient_goes_to_anchors_only():
    """The bank is detached: the negatives B and the other video get no gradient, however often they are used."""
    embeddings = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss()(embeddings, ids(A0, A0_TOO, B0, OTHER_VIDEO)).loss.backward()
    assert (embeddings.grad[:2].abs().amax(-1) > 0).all()
    assert not embeddings.grad[2:].any()


def test_what_is_positive_and_negative():
    tokens = ids(A0, A0_TOO, A1, A1_TOO, B0, OTHER_VIDEO)
    for negatives, expected in (("other_objects", [4, 5]), ("upstream", [3, 4, 5])):
        term = loss(negatives=negatives)
        term.bank.push(torch.randn(6, 4), tokens)
        positive, negative = term.relations(ids(A0))
        assert positive[0].nonzero().flatten().tolist() == [1]
        assert negative[0].nonzero().flatten().tolist() == expected


def test_upstream_samples_the_same_object_of_other_frames_as_negative():
    """A1_TOO is the same object as the anchor A0, in another frame: an exact negative upstream, none by default."""
    embeddings = torch.eye(4)[[0, 0, 0, 1]]
    tokens = ids(A0, A0_TOO, A1_TOO, B0)
    corrected = loss(num_negatives=1)(embeddings, tokens)
    # anchors A0 and A0_TOO are valid (A1_TOO has no other expression in its frame): their only negative is B0
    assert corrected.num_anchors == 2
    assert corrected.loss.item() == pytest.approx(math.log1p(math.exp(-2)), rel=1e-6)
    upstream = loss(num_negatives=1, negatives="upstream")
    upstream.bank.push(embeddings[[2, 2]], ids(A1, A1_TOO))  # as similar as the positive
    term = upstream(embeddings[:2], ids(A0, A0_TOO))
    assert term.num_anchors == 2
    assert term.loss.item() == pytest.approx(math.log(2), rel=1e-6)
    default = loss(num_negatives=1)
    default.bank.push(embeddings[[2, 2]], ids(A1, A1_TOO))
    assert default(embeddings[:2], ids(A0, A0_TOO)).num_anchors == 0  # nothing there is another object


def test_a_single_valid_anchor():
    """Upstream drops the term when one anchor alone is valid."""
    tokens, embeddings = ids(A0), torch.eye(4)[[0]]
    for negatives, count in (("other_objects", 1), ("upstream", 0)):
        term = loss(negatives=negatives)
        term.bank.push(torch.eye(4)[[1, 2, 3]], ids(A0_TOO, B0, OTHER_VIDEO))
        result = term(embeddings, tokens)
        assert result.num_anchors == count
        assert bool(result.loss > 0) == bool(count)


def test_too_few_negatives():
    """Upstream waits for 128 of them; the default takes what there is."""
    tokens = ids(A0, A0_TOO, B0)
    embeddings = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    assert ObjectContrastiveLoss(negatives="upstream")(embeddings, tokens).num_anchors == 0
    assert ObjectContrastiveLoss()(embeddings, tokens).num_anchors == 2
    upstream = ObjectContrastiveLoss(negatives="upstream")
    upstream.bank.push(torch.randn(128, 4), ids(*[OTHER_VIDEO] * 128))
    assert upstream(embeddings, tokens).num_anchors == 2


def test_no_positive_no_loss():
    term = loss()(torch.randn(3, 4, requires_grad=True), ids(A0, A1, B0))
    assert term.num_anchors == 0 and term.loss.item() == 0
    term.loss.backward()  # zero, but part of the graph


@pytest.mark.parametrize("negatives", ["other_objects", "upstream"])
def test_nothing_takes_part(negatives):
    nothing = ids([NO_TOKEN] * 4, [NO_TOKEN] * 4)
    for tokens in (nothing, nothing[:0]):
        result = loss(negatives=negatives)(torch.randn(len(tokens), 4), tokens)
        assert result.num_anchors == 0 and result.loss == 0


def test_negatives_are_sampled_once_each():
    """128 of 128: without replacement every one of them is there."""
    term = ObjectContrastiveLoss(temperature=1.0)
    others = torch.randn(128, 4, generator=torch.Generator().manual_seed(2))
    term.bank.push(others, ids(*[OTHER_VIDEO] * 128))
    anchors = torch.eye(4)[[0, 0]]
    cosines = (others / others.norm(dim=-1, keepdim=True))[:, 0]
    expected = -math.log(math.e / (math.e + cosines.exp().sum().item()))
    assert term(anchors, ids(A0, A0_TOO)).loss.item() == pytest.approx(expected, rel=1e-5)


def test_negatives_of_the_batch_by_hand():
    """SimCLR: two anchors, each with the other as positive; B and the other video are negatives of both."""
    tokens = ids(A0, A0_TOO, B0, OTHER_VIDEO)
    embeddings = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 5.0], [-1.0, 0.0]], requires_grad=True)
    term = loss(negatives="batch")(embeddings, tokens)
    half = math.sqrt(0.5)
    first = -math.log(math.exp(half / 0.5) / (math.exp(half / 0.5) + math.exp(0) + math.exp(-1 / 0.5)))
    second = -math.log(math.exp(half / 0.5) / (math.exp(half / 0.5) + math.exp(half / 0.5) + math.exp(-half / 0.5)))
    assert term.num_anchors == 2 and term.loss.item() == pytest.approx((first + second) / 2, rel=1e-6)
    term.loss.backward()
    assert (embeddings.grad.abs().amax(-1) > 0).all()  # negatives too


def test_negatives_of_the_batch_know_no_earlier_batch():
    term = loss(negatives="batch")
    embeddings = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    first = term(embeddings, ids(A0, A0_TOO, B0, OTHER_VIDEO)).loss
    term(embeddings.flip(0), ids(A0, A0_TOO, B0, B0))
    assert torch.equal(first, term(embeddings, ids(A0, A0_TOO, B0, OTHER_VIDEO)).loss) and not len(term.bank)
    assert term(embeddings[:3], ids(A0, A1, B0)).num_anchors == 0  # no positive
    assert term(embeddings[:2], ids(A0, A0_TOO)).num_anchors == 0  # no negative


def test_several_positives_of_the_batch_count_alike():
    third = (1, 13, 100, 7)
    embeddings = torch.eye(3, 8)[[0, 0, 1, 2]]  # the second is as the anchor, the third is not
    term = loss(negatives="batch")(embeddings, ids(A0, A0_TOO, third, B0))
    alike, apart = math.log1p(math.exp(-2)), math.log(2)
    expected = ((alike + apart) / 2 * 2 + apart) / 3
    assert term.num_anchors == 3 and term.loss.item() == pytest.approx(expected, rel=1e-6)


def test_bank_forgets_the_oldest():
    bank = EmbeddingBank(3)
    for index in range(5):
        bank.push(torch.full((1, 2), float(index), requires_grad=True), ids([index] * 4))
    assert bank.ids[:, 0].tolist() == [2, 3, 4] and bank.embeddings[:, 0].tolist() == [2, 3, 4]
    assert not bank.embeddings.requires_grad
    bank.push(torch.zeros(7, 2), ids(*[[9] * 4] * 7))
    assert len(bank) == 3


def test_saved_and_loaded_it_goes_on_alike(tmp_path):
    def step(term, seed):
        embeddings = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
        return term(embeddings, ids(A0, A0_TOO, A1, A1_TOO, B0)).loss.item()

    first = loss(num_negatives=1)
    step(first, 0)
    first.save(tmp_path / "bank.safetensors")
    second = loss(num_negatives=1, seed=5)
    second.load(tmp_path / "bank.safetensors")
    assert [step(first, seed) for seed in range(1, 6)] == [step(second, seed) for seed in range(1, 6)]


def test_ids_of_a_sample():
    sample = {
        "dataset": "mevis",
        "video_id": "v",
        "expression_ids": ["0", "1", "2"],
        "frame_names": ["00009", "00000", "00001"],
        "object_ids": [["1", "2"], [2, 1], []],
    }
    tokens = token_ids(sample, 2)
    assert tokens.shape == (3, 2, 4)
    assert (tokens[2] == NO_TOKEN).all() and (tokens[:2] >= 0).all()
    assert tokens[0, 0, 3] == tokens[1, 1, 3]  # the order and type of object ids does not matter
    assert tokens[0, 0, 2] == tokens[1, 0, 2] != tokens[0, 1, 2]
    assert tokens[0, 0, 1] != tokens[1, 0, 1]
    assert not (token_ids({**sample, "video_id": "w"}, 2)[:2] == tokens[:2]).any()
    assert (token_ids(sample, 2, datasets=["revos"]) == NO_TOKEN).all()
    assert torch.equal(token_ids(sample, 2, datasets=["mevis"]), tokens)


def test_unknown_choice():
    with pytest.raises(ValueError, match="other_objects, upstream"):
        loss(negatives="all")
