"""BERT and ModernBERT against transformers on random weights: features, loss, logits, gradients, files both ways."""

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from unseen.contract import Output, Shapes
from unseen.data.views import Frames
from unseen.errors import UnseenError
from unseen.models import Bert, InPlace, LinearHead, ModernBert, TiedHead, ViT
from unseen.models.attention import kernel
from unseen.models.layouts import bert, load_weights, modernbert
from unseen.models.words import look
from unseen.packing import pack
from unseen.systems.encode import FrozenEncoder
from unseen.systems.export import export
from unseen.units import Patches

from .conftest import randomise

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

VOCABULARY, MASK, LENGTHS = 97, 4, (20, 13, 17)
SHAPES = Shapes((), (1.0,), None, {"token": Output((VOCABULARY,))})
CENTRE = torch.arange(20.0)[None, :, None]


class Family(NamedTuple):
    layout: Any
    config: Any
    whole: Any
    bare: Any
    head: TiedHead
    table: str


def bert_config(**changes):
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "intermediate_size": 40}
    rest = {"vocab_size": VOCABULARY, "max_position_embeddings": 23, "hidden_dropout_prob": 0.0}
    quiet = {"attention_probs_dropout_prob": 0.0, "layer_norm_eps": 1e-12, "pad_token_id": 0}
    return transformers.BertConfig(**sizes | rest | quiet | changes)


def modernbert_config(**changes):
    sizes = {"hidden_size": 24, "num_hidden_layers": 5, "num_attention_heads": 3, "intermediate_size": 40}
    rest = {"vocab_size": VOCABULARY, "local_attention": 10, "global_attn_every_n_layers": 2}
    tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), None)
    return transformers.ModernBertConfig(**sizes | rest | tokens | {"pad_token_id": 0} | changes)


FAMILIES = {
    "bert": Family(bert, bert_config, transformers.BertForMaskedLM, transformers.BertModel, TiedHead(), bert.TABLE),
    "modernbert": Family(
        modernbert,
        modernbert_config,
        transformers.ModernBertForMaskedLM,
        transformers.ModernBertModel,
        TiedHead(bias=False, norm_eps=1e-5),
        modernbert.TABLE,
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def peer(family, **changes):
    return randomise(family.whole(family.config(**changes)).eval())


def written(theirs, folder):
    folder.mkdir(exist_ok=True)
    theirs.save_pretrained(folder)
    return folder


def spec_of(family, config) -> InPlace:
    return InPlace(encoder=family.layout.describe(config.to_dict(), mask_id=MASK), head=family.head)


def ours(family, theirs, folder):
    model = spec_of(family, theirs.config).build(SHAPES)
    load_weights(model, written(theirs, folder), part="all")
    return model


class Passages:
    """Token ids, padding, and hidden tokens of which there are more in some passages than in others."""

    def __init__(self, seed: int = 5):
        generator = torch.Generator().manual_seed(seed)
        self.valid = torch.arange(20) < torch.tensor(LENGTHS)[:, None]
        self.ids = torch.randint(5, VOCABULARY, (3, 20), generator=generator).where(self.valid, 0)
        self.hidden = (torch.rand(3, 20, generator=generator) < 0.3) & self.valid
        self.read = self.ids.where(~self.hidden, MASK)
        self.labels = self.ids.where(self.hidden, -100)

    def predict(self, model):
        visible = self.valid & ~self.hidden
        given = self.ids.where(visible, -1)  # what is hidden, and padding, never reaches the model
        return model(pack(given, visible), visible, self.hidden, {"centre": CENTRE, "valid": self.valid})


@pytest.mark.parametrize("attention", ["fused", "plain"])
def test_features_agree(tmp_path, family, attention):
    theirs, passages = peer(family), Passages()
    model = ours(family, theirs, tmp_path)
    theirs_inner = theirs.bert if family is FAMILIES["bert"] else theirs.model
    wanted = theirs_inner(passages.read, attention_mask=passages.valid.long()).last_hidden_state
    given = passages.read.where(passages.valid, -1)
    with kernel(attention):
        features = model.encoder(given, CENTRE.expand(3, -1, -1), passages.valid)
    assert (features - wanted)[passages.valid].abs().max() < 1e-5
    whole, last = model.encoder(given, CENTRE.expand(3, -1, -1), passages.valid, (0, -1))
    assert torch.allclose(last, features, atol=1e-5) and not torch.allclose(whole, last)


@pytest.mark.parametrize("sparse", [False, True])
def test_loss_logits_and_gradients_agree(tmp_path, family, sparse):
    if sparse and family is FAMILIES["bert"]:
        pytest.skip("transformers' BERT computes its head on every token")
    theirs, passages = peer(family, **({"sparse_prediction": True} if sparse else {})), Passages()
    model = ours(family, theirs, tmp_path)
    answer = theirs(passages.read, attention_mask=passages.valid.long(), labels=passages.labels)
    answer.loss.backward()

    prediction = passages.predict(model)
    truth, live = pack(passages.ids, passages.hidden), pack(passages.hidden, passages.hidden)
    loss = F.cross_entropy(prediction[live], truth[live])
    loss.backward()

    logits = answer.logits if sparse else answer.logits[passages.hidden]
    assert prediction.shape[2] == VOCABULARY and (prediction[~live] == 0).all()
    assert (prediction[live] - logits).abs().max() < 1e-5 * max(1.0, float(logits.detach().abs().max()))
    assert abs(float(loss.detach() - answer.loss.detach())) < 1e-5

    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    expected, _ = family.layout.read(gradients, model.encoder.spec)
    found = {name.replace("heads.token.", "head."): p.grad for name, p in model.named_parameters()}
    found["encoder.patch_embed.weight"][MASK] += found.pop("mask_token")[0, 0]  # theirs is one row of the table
    expected.pop("mask_token")
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, wanted in expected.items():
        assert (found[name] - wanted).abs().max() < 1e-5 * max(scale, 1), name


def test_transformers_reads_what_we_write(tmp_path, family):
    theirs, passages = peer(family), Passages()
    model = ours(family, theirs, tmp_path / "theirs")
    for part, kind in ((model, family.whole), (model.encoder, family.bare)):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        state, config = family.layout.to_peer(part)
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
        extra = {"add_pooling_layer": False} if kind is transformers.BertModel else {}
        read, report = kind.from_pretrained(folder, output_loading_info=True, **extra)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        if kind is family.whole:
            with torch.no_grad():
                given = {"input_ids": passages.read, "attention_mask": passages.valid.long()}
                assert torch.allclose(read.eval()(**given).logits, theirs(**given).logits, atol=1e-5)
        for name, value in read.state_dict().items():
            prefix = "" if kind is family.whole else family.table.partition(".")[0] + "."
            assert torch.equal(value, theirs.state_dict()[prefix + name]), name


def test_the_export_of_a_run_knows_encoders_of_tokens(tmp_path, family, monkeypatch):
    model, passages = ours(family, peer(family), tmp_path / "theirs"), Passages()
    vit = ViT(width=24, heads=3, depth=1).build(Shapes((4, 4, 3), (4.0, 4.0), (2, 2), {}))
    frozen = FrozenEncoder(vit, Patches(size=(4, 4)), None, Frames(frame_px=(8, 8)))
    frozen.encoder = model.encoder
    monkeypatch.setattr("unseen.systems.export.load_encoder", lambda run, trust: frozen)
    told = export(tmp_path, to="transformers", out=tmp_path / "out")
    assert told["model"] == family.bare.__name__
    extra = {"add_pooling_layer": False} if family.bare is transformers.BertModel else {}
    read = family.bare.from_pretrained(tmp_path / "out", **extra).eval()
    with torch.no_grad():
        features = read(passages.read, attention_mask=passages.valid.long()).last_hidden_state
        own = model.encoder(passages.read, CENTRE, passages.valid)
    assert (features - own)[passages.valid].abs().max() < 1e-5


def test_a_trained_mask_token_is_the_row_of_the_mask(tmp_path, family):
    model = ours(family, peer(family), tmp_path)
    with torch.no_grad():
        model.mask_token.fill_(0.25)
    state, _ = family.layout.to_peer(model)
    assert (state[family.table][MASK] == 0.25).all() and not (state[family.table][MASK - 1] == 0.25).any()
    assert not (model.encoder.patch_embed.weight[MASK] == 0.25).any()


def test_our_own_files_are_read(tmp_path, family):
    model = ours(family, peer(family), tmp_path)
    save_file({k: v.contiguous() for k, v in model.encoder.state_dict().items()}, tmp_path / "encoder.safetensors")
    read = spec_of(family, family.config()).build(SHAPES)
    card = {"encoder": {"fields": {"heads": 3, "norm_eps": model.encoder.spec.norm_eps}}}
    (tmp_path / "encoder.json").write_text(json.dumps(card))
    assert load_weights(read, tmp_path / "encoder.safetensors").layout == "unseen"
    assert all(torch.equal(v, read.encoder.state_dict()[k]) for k, v in model.encoder.state_dict().items())


def test_our_own_files_of_other_settings_are_refused(tmp_path, family):
    model = spec_of(family, family.config()).build(SHAPES)
    save_file(model.encoder.state_dict(), tmp_path / "encoder.safetensors")
    (tmp_path / "encoder.json").write_text(json.dumps({"encoder": {"fields": {"heads": 4}}}))
    with pytest.raises(UnseenError, match="heads=4"):
        load_weights(model, tmp_path)
    with pytest.raises(UnseenError, match="adapt files to a ViT"):
        load_weights(model, tmp_path, channels="adapt")


def test_an_encoder_alone_leaves_the_head_out_by_name(tmp_path, family):
    theirs = peer(family)
    model, fresh = spec_of(family, theirs.config).build(SHAPES), spec_of(family, theirs.config).build(SHAPES)
    matched = load_weights(model, written(theirs, tmp_path))
    assert any("dense" in name for name in matched.ignored)
    assert torch.equal(model.heads.of("token").dense.weight, fresh.heads.of("token").dense.weight)
    assert torch.equal(model.encoder.patch_embed.weight, theirs.state_dict()[family.table])


def test_the_first_files_of_bert_are_read(tmp_path):
    """gamma and beta, position_ids, a pooler and the second head, no config.json."""
    family = FAMILIES["bert"]
    theirs = peer(family)
    state = {name: value.clone() for name, value in theirs.state_dict().items()}
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in state.items()
        if "decoder" not in name
    }
    old |= {"bert.embeddings.position_ids": torch.arange(23)[None], "cls.seq_relationship.bias": torch.zeros(2)}
    old |= {"bert.pooler.dense.bias": torch.zeros(24)}
    save_file(old, tmp_path / "model.safetensors")
    model = spec_of(family, theirs.config).build(SHAPES)
    matched = load_weights(model, tmp_path, part="all")
    assert len(matched.ignored) == 3
    again, _ = bert.to_peer(model)
    assert all(torch.equal(again[name], value) for name, value in state.items() if name in again)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s, f: s.pop(next(n for n in s if n.endswith("2.attn.Wo.weight") or n.endswith("2.output.dense.bias"))),
         "missing.*blocks.2"),
        (lambda s, f: s.update(extra=torch.zeros(3)), "extra"),
        (lambda s, f: s.update({f.table: torch.zeros(90, 24)}), r"\(90, 24\) for \(97, 24\)"),
        (lambda s, f: [s.pop(n) for n in list(s) if n.endswith(("head.norm.weight", "transform.dense.bias"))],
         "missing.*heads.token"),
        (lambda s, f: s.update({("decoder.weight" if "model." in f.table else "cls.predictions.decoder.weight"):
                                torch.zeros(97, 24)}), "shares the table"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, family, change, match):
    theirs = peer(family)
    state = {name: value.clone() for name, value in theirs.state_dict().items() if "decoder.weight" not in name}
    change(state, family)
    save_file(state, tmp_path / "model.safetensors")
    model, untouched = spec_of(family, theirs.config).build(SHAPES), spec_of(family, theirs.config).build(SHAPES)
    with pytest.raises(UnseenError, match=match):
        load_weights(model, tmp_path, part="all")
    assert all(torch.equal(value, untouched.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("field", ["heads", "norm_eps", "window", "global_every", "local_base"])
def test_settings_that_shapes_do_not_show_must_agree(tmp_path, family, field):
    theirs = peer(family)
    spec = spec_of(family, theirs.config)
    if not hasattr(spec.encoder, field):
        pytest.skip("BERT has no such setting")
    other = {"heads": 2, "norm_eps": 1e-6, "window": 6, "global_every": 3, "local_base": 500.0}[field]
    wrong = replace(spec, encoder=replace(spec.encoder, **{field: other})).build(SHAPES)
    with pytest.raises(UnseenError, match=f"{field}="):
        load_weights(wrong, written(theirs, tmp_path))


def test_files_of_another_family_are_refused(tmp_path):
    model = spec_of(FAMILIES["bert"], bert_config()).build(SHAPES)
    with pytest.raises(UnseenError, match="not of a Bert"):
        load_weights(model, written(peer(FAMILIES["modernbert"]), tmp_path))


def test_forms_that_are_not_ours_are_refused():
    with pytest.raises(UnseenError, match="hidden_act"):
        bert.describe(bert_config(hidden_act="relu").to_dict(), MASK)
    with pytest.raises(UnseenError, match="norm_bias"):
        modernbert.describe(modernbert_config(norm_bias=True).to_dict(), MASK)
    kinds = ["full_attention", "full_attention", "sliding_attention", "full_attention", "sliding_attention"]
    with pytest.raises(UnseenError, match="layer_types"):
        modernbert.describe(modernbert_config(layer_types=kinds).to_dict(), MASK)


def test_a_config_of_version_4_is_understood():
    config = modernbert_config().to_dict()
    old = {name: value for name, value in config.items() if name not in ("layer_types", "rope_parameters")}
    old |= {"global_attn_every_n_layers": 2, "global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0}
    assert modernbert.describe(old, MASK) == modernbert.describe(config, MASK)


def test_an_encoder_of_tokens_says_what_it_needs():
    with pytest.raises(UnseenError, match="reads token ids"):
        Bert(width=24, heads=3, depth=1).build(Shapes((4, 4, 3), (4.0, 4.0), (2, 2), {}))
    with pytest.raises(UnseenError, match="mask_id"):
        ModernBert(vocabulary=100)
    with pytest.raises(UnseenError, match="vocabulary"):
        InPlace(encoder=Bert(width=24, heads=3, depth=1, vocabulary=50, mask_id=4), head=TiedHead()).build(SHAPES)
    image = Shapes((4, 4, 3), (4.0, 4.0), (2, 2), {"token": Output((VOCABULARY,))})
    with pytest.raises(UnseenError, match="table of tokens"):
        InPlace(encoder=ViT(width=24, heads=3, depth=1), head=TiedHead()).build(image)
    encoder = Bert(width=24, heads=3, depth=1, vocabulary=50, positions=8, mask_id=4).build(SHAPES)
    with pytest.raises(UnseenError, match="token id 60 of a table of 50"):
        encoder(torch.full((1, 3), 60), CENTRE[:, :3])
    with pytest.raises(UnseenError, match="position 8 of a table of 8"):
        encoder(torch.full((1, 9), 6), CENTRE[:, :9])
    assert look(encoder.pos_embed[0], torch.tensor([[7]]), "position").shape == (1, 1, 24)


def test_padding_and_batch_mates_change_nothing(family, tmp_path):
    model, passages = ours(family, peer(family), tmp_path), Passages()
    together = passages.predict(model)
    visible = (passages.valid & ~passages.hidden)[1:2, :13]
    alone = model(
        pack(passages.ids[1:2, :13], visible),
        visible,
        passages.hidden[1:2, :13],
        {"centre": CENTRE[:, :13], "valid": passages.valid[1:2, :13]},
    )
    assert torch.allclose(together[1, : alone.shape[1]], alone[0], atol=1e-5)


def test_a_linear_head_is_the_default():
    spec = InPlace(encoder=Bert(width=24, heads=3, depth=1, vocabulary=VOCABULARY, mask_id=MASK))
    assert spec.head == LinearHead()
    assert Passages().predict(spec.build(SHAPES)).shape[2] == VOCABULARY
