"""first_last_avg pooling: against hidden_states of plain transformers, packed and padded, trained,
on disk, and where it is refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, BertConfig, FalconConfig, GPT2Config

import bothways as bw
from bothways.encoder.batch import TokenBatch
from bothways.errors import InputError
from bothways.exports.gguf.gguf_file import check as check_gguf
from bothways.exports.graphs.padded_encoder import PaddedEncoder
from bothways.pooling import Pooling
from tiny import SENTENCES, tiny_llama, tiny_model
from unit.cli.cli_runner import Run, runner
from unit.training.material import TEXTS, recipe, simcse

MODE = "first_last_avg"
CPU: dict[str, Any] = {"dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("base"), num_hidden_layers=3)


@pytest.fixture(scope="module")
def saved(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "encoder"
    bw.convert(base, pooling=MODE, prompts={"query": "Find this:\n"}, **CPU).save(folder)
    return folder


def by_hand(folder: Path, ids: list[int], pool: list[bool], first: int = 1) -> np.ndarray:
    """SimCSE's avg_first_last of one text, by transformers alone in float64: causal or not as the
    folder's config says.
    """
    model: Any = AutoModel.from_pretrained(folder, attn_implementation="eager").double()
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return ((states[first] + states[-1]) / 2)[0][torch.tensor(pool)].mean(0).numpy()


@pytest.mark.parametrize("prompt", [None, "Find this:\n"])
def test_is_the_mean_of_hidden_states_1_and_last(saved: Path, prompt: str | None) -> None:
    encoder = bw.load(saved, **CPU)
    assert encoder.pooling.mode == MODE
    rows = encoder.tokenize(list(SENTENCES), prompt=prompt)
    expected = np.stack([by_hand(saved, row.ids, row.pool) for row in rows])
    np.testing.assert_allclose(encoder.encode(SENTENCES, prompt=prompt), expected, atol=1e-6)
    embeddings = np.stack([by_hand(saved, row.ids, row.pool, first=0) for row in rows])
    assert np.abs(embeddings - expected).max() > 1e-3, "layer 0 would be the embeddings, which SimCSE's first code took"


def test_causal(base: Path) -> None:
    encoder = bw.convert(base, direction="causal", pooling="avg_first_last", **CPU)
    rows = encoder.tokenize(list(SENTENCES))
    np.testing.assert_allclose(encoder.encode(SENTENCES), np.stack([by_hand(base, *row[:2]) for row in rows]), atol=1e-6)


FAMILIES = {
    "falcon (padded)": (FalconConfig, {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "alibi": False}),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
    "one layer": (None, {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_families_packed_and_padded(tmp_path: Path, family: str) -> None:
    kind, config = FAMILIES[family]
    base = tiny_llama(tmp_path / "base", **config) if kind is None else tiny_model(tmp_path / "base", kind, **config)
    encoder = bw.convert(base, direction="causal", pooling=MODE, **CPU)
    assert encoder.execution == ("padded" if "padded" in family else "packed")
    expected = np.stack([by_hand(base, row.ids, row.pool) for row in encoder.tokenize(list(SENTENCES))])
    np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)


def test_bert_as_simcse_measures_it(tmp_path: Path) -> None:
    config = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    base = tiny_model(tmp_path / "base", BertConfig, auto=AutoModel, **config)
    encoder = bw.convert(base, pooling=MODE, **CPU)
    expected = np.stack([by_hand(base, row.ids, row.pool) for row in encoder.tokenize(list(SENTENCES))])
    np.testing.assert_allclose(encoder.encode(SENTENCES), expected, atol=1e-5)


def test_half_precision_averages_in_float32(base: Path) -> None:
    one = bw.convert(base, pooling=MODE, dtype="bfloat16", device="cpu")
    batch = one.pack(one.tokenize(list(SENTENCES)))
    assert one.pooled_states(batch).dtype == torch.float32 and one.states(batch).dtype == torch.bfloat16


def test_language_model_states_stay_the_last_layers(base: Path) -> None:
    one, mean = bw.convert(base, pooling=MODE, **CPU), bw.convert(base, **CPU)
    batch = one.pack(one.tokenize(list(SENTENCES)))
    assert torch.equal(one.states(batch), mean.states(batch)) and torch.equal(mean.states(batch), mean.pooled_states(batch))
    np.testing.assert_array_equal(one.encode_tokens(SENTENCES[0]).states, mean.encode_tokens(SENTENCES[0]).states)


def test_late_chunks_of_the_whole_text_have_its_vector(base: Path) -> None:
    encoder = bw.convert(base, pooling=MODE, **CPU)
    text = SENTENCES[0]
    np.testing.assert_allclose(encoder.encode_chunks(text, [(0, len(text))]).vectors[0], encoder.encode(text), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"prompt_name": "query"}, {"normalize_embeddings": True}])
def test_sentence_transformers_gives_the_same_vectors(saved: Path, options: dict[str, Any]) -> None:
    listed = [module["type"].rsplit(".", 1)[-1] for module in json.loads((saved / "modules.json").read_text())]
    assert listed == ["Transformer", "WeightedLayerPooling", "Pooling"]
    stock = SentenceTransformer(str(saved), device="cpu", local_files_only=True).encode(list(SENTENCES), **options)
    ours = bw.load(saved, **CPU).encode(SENTENCES, **options)
    np.testing.assert_allclose(ours, stock, atol=1e-5)
    other = bw.load(saved, pooling="mean", **CPU).encode(SENTENCES, **options)
    assert np.abs(other - stock).max() > 1e-3, "the mean of the last layer is another vector"


def test_the_folder_names_the_loaders_that_pool_otherwise(saved: Path) -> None:
    notes = json.loads((saved / "bothways.json").read_text())["loader_notes"]
    assert len(notes) == 1 and "vLLM, TEI, llama.cpp" in notes[0] and "WeightedLayerPooling" in notes[0]
    card = (saved / "README.md").read_text()
    assert notes[0] in card and "first_last_avg pooling" in card and "1_Pooling" not in card


def test_doctor_and_another_save(saved: Path, tmp_path: Path) -> None:
    encoder = bw.load(saved, **CPU)
    assert bw.doctor(encoder).ok
    encoder.save(tmp_path / "again")
    np.testing.assert_array_equal(bw.load(tmp_path / "again", **CPU).encode(SENTENCES), encoder.encode(SENTENCES))


def test_load_reads_another_encoder_so(base: Path, saved: Path, tmp_path: Path) -> None:
    bw.convert(base, prompts={"query": "Find this:\n"}, **CPU).save(tmp_path / "mean")
    one, other = bw.load(tmp_path / "mean", pooling=MODE, **CPU), bw.load(saved, **CPU)
    np.testing.assert_array_equal(one.encode(SENTENCES, prompt_name="query"), other.encode(SENTENCES, prompt_name="query"))
    with pytest.raises(InputError, match="latent_attention needs training"):
        bw.load(tmp_path / "mean", pooling="latent_attention", **CPU)
    bw.convert(base, pooling="self_attention", **CPU).save(tmp_path / "own")
    with pytest.raises(InputError, match="was trained with self_attention pooling and its parameters"):
        bw.load(tmp_path / "own", pooling=MODE, **CPU)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_both_layers(base: Path, checkpointing: bool) -> None:
    """Against autograd through plain transformers, text by text."""
    encoder = bw.convert(base, pooling=MODE, **CPU)
    plain: Any = AutoModel.from_pretrained(base, attn_implementation="eager")
    rows = encoder.tokenize(list(SENTENCES))
    target = torch.randn(len(rows), encoder.dimension, generator=torch.Generator().manual_seed(0))
    model: Any = encoder.backbone
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    (encoder(encoder.pack(rows)) * target).sum().backward()
    for row, wanted in zip(rows, target):
        ids = torch.tensor([row.ids])
        mask = torch.zeros(1, 1, len(row.ids), len(row.ids))
        states = plain(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        (((states[1] + states[-1]) / 2)[0].mean(0) * wanted).sum().backward()
    for (name, one), (_, other) in zip(model.named_parameters(), plain.named_parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=2e-5, rtol=1e-4, msg=name)


def test_trains_and_is_saved_as_it_was_trained(tmp_path: Path) -> None:
    for name, checkpointing in (("one", False), ("two", True)):
        made = recipe(tmp_path, simcse(gradient_checkpointing=checkpointing), pooling=MODE)
        bw.train(made, tmp_path / name, texts=TEXTS)
    one, two = (bw.load(tmp_path / name, **CPU) for name in ("one", "two"))
    assert one.pooling.mode == MODE
    np.testing.assert_allclose(one.encode(SENTENCES), two.encode(SENTENCES), atol=1e-5)
    adapter = bw.load(tmp_path / "one" / "adapters" / "1-simcse", **CPU)
    assert adapter.pooling.mode == MODE and not (tmp_path / "one" / "adapters" / "1-simcse" / "llm2vec_config.json").exists()
    np.testing.assert_allclose(adapter.encode(SENTENCES), one.encode(SENTENCES), atol=2e-5)


def changed(saved: Path, folder: Path, weights: list[float] | None = None, **files: dict[str, Any]) -> Path:
    shutil.copytree(saved, folder)
    for name, values in files.items():
        file = folder / f"{name.replace('__', '/')}.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    if weights is not None:
        file = folder / "1_WeightedLayerPooling" / "model.safetensors"
        assert load_file(file)["layer_weights"].tolist() == [1, 0, 1]
        save_file({"layer_weights": torch.tensor(weights)}, file)
    return folder


@pytest.mark.parametrize(
    ("weights", "files", "error"),
    [
        ([1.0, 1.0, 1.0], {}, "averages the layers with the weights"),
        ([0.0, 0.0, 1.0], {}, "averages the layers with the weights"),
        ([1.0, 1.0], {}, "needs 3 layer_weights"),
        (
            None,
            {"sentence_bert_config": {"config_args": {}}},
            "no effect in sentence-transformers without output_hidden_states",
        ),
        (None, {"2_Pooling__config": {"pooling_mode": "max"}}, "comes before max pooling"),
    ],
)
def test_other_weights_of_layers_are_refused_by_name(saved: Path, tmp_path: Path, weights, files, error: str) -> None:
    with pytest.raises(InputError, match=error):
        bw.load(changed(saved, tmp_path / "changed", weights, **files), **CPU)


def test_equal_weights_of_another_size_mean_the_same(saved: Path, tmp_path: Path) -> None:
    place = changed(saved, tmp_path / "half", [0.5, 0.0, 0.5])
    np.testing.assert_allclose(bw.load(place, **CPU).encode(SENTENCES), bw.load(saved, **CPU).encode(SENTENCES), atol=1e-6)


def test_filler_is_not_pooled(base: Path) -> None:
    encoder = bw.convert(base, pooling=MODE, **CPU)
    rows = encoder.tokenize(list(SENTENCES[:2]))
    one: TokenBatch = encoder.pack(rows)
    torch.testing.assert_close(encoder(encoder.pack(rows, fill_to=96)), encoder(one), atol=1e-6, rtol=1e-5)
    assert isinstance(encoder.pooling, Pooling) and encoder.pooling.reads == "first_last"


def test_exports_say_what_has_no_place_for_it(saved: Path, tmp_path: Path) -> None:
    encoder = bw.load(saved, **CPU)
    with pytest.raises(InputError, match="export: first_last_avg pooling reads other layers than the last"):
        PaddedEncoder(encoder)
    with pytest.raises(InputError, match=r"llama\.cpp does not have first_last_avg pooling"):
        check_gguf(encoder, "f32")
    folder = bw.export(encoder, tmp_path / "out", to="sentence-transformers")
    stated = json.loads((folder / "bothways-export.json").read_text())
    assert stated["loaders"] == ["sentence-transformers"], "plain AutoModel and a mean would give other vectors"


def test_command_line(saved: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run: Run = runner(capsys)
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in SENTENCES))
    device = ("--device", "cpu", "--dtype", "float32")
    mean = tmp_path / "mean"
    assert run("convert", base, "--out", mean, *device).code == 0
    expected = bw.load(saved, **CPU).encode(SENTENCES, normalize_embeddings=True)
    for name in (base, mean):
        done = run("encode", name, texts, "--pooling", MODE, "--out", tmp_path / "v.npy", *device)
        assert done.code == 0, done.err
        np.testing.assert_allclose(np.load(tmp_path / "v.npy"), expected, atol=1e-5)
    assert "note  first_last_avg pooling needs" in run("doctor", saved, "--quick").out
