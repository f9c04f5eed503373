"""Every setting that a published folder's files may hold is followed, or refused by its name.

Each case writes one setting into a folder, and sentence-transformers says what it means: bothways
gives the same vectors, also after saving and in sentence-transformers on the saved folder, or it
refuses with the setting's name in the line.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, models
from transformers import Qwen2Config

import bothways as bw
from bothways.errors import BothwaysError
from tiny import CHAT_TEMPLATE, TINY, tiny_model
from unit.training.material import TEXTS as TRAINING
from unit.training.material import recipe, simcse

WORDS = "A cat sits on the warm window sill and watches the rain. The river runs from the old mountain to the sea. "
TEXTS = ["A cat sits.", "Yes", " Blanks around  it ", "ÜBER Allen Gipfeln\n", WORDS, WORDS * 6]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder as most published ones are: legacy names, mean pooling, unit vectors."""
    folder = tiny_model(tmp_path_factory.mktemp("published") / "plain", Qwen2Config, tokenizer={"add_eos": True}, **TINY)
    put(folder, "modules.json", modules("Transformer", "Pooling", "Normalize"))
    (folder / "2_Normalize").mkdir()
    put(folder, "1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    put(folder, "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    put(folder, "config_sentence_transformers.json", {"prompts": {"query": "Find: ", "document": "Text:"}})
    return folder


def modules(*kinds, package="sentence_transformers.models"):
    paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
    return [
        {"idx": i, "name": str(i), "path": path, "type": kind if "." in kind else f"{package}.{kind}"}
        for i, (path, kind) in enumerate(zip(paths, kinds))
    ]


def put(folder, name, value):
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(value) if not isinstance(value, str) else value)


def edit(folder, name, **fields):
    file = folder / name
    held = json.loads(file.read_text()) if file.exists() else {}
    put(folder, name, {**held, **fields})


def vectors(model):
    return {
        "encode": model.encode(TEXTS),
        "query": model.encode_query(TEXTS),
        "document": model.encode_document(TEXTS),
        "prompt": model.encode(TEXTS, prompt="Given a claim:"),
        "blank": model.encode(TEXTS[:1] + TEXTS[2:], prompt="Given a claim: "),
    }


def agree(folder, place):
    """The folder through both libraries, and what bothways makes of it through both again."""
    model = SentenceTransformer(str(folder), device="cpu")
    wanted = vectors(model)
    encoder = bw.load(folder, dtype="float32", device="cpu")
    encoder.save(place)
    saved = SentenceTransformer(str(place), device="cpu")
    a, b = wanted["encode"], wanted["query"]
    for each in (encoder, saved):
        assert torch.allclose(each.similarity(a, b), model.similarity(a, b), atol=1e-5)
        assert torch.allclose(each.similarity_pairwise(a, b), model.similarity_pairwise(a, b), atol=1e-5)
        assert each.similarity_fn_name == model.similarity_fn_name
    found = {
        "loaded": vectors(encoder),
        "saved": vectors(bw.load(place, dtype="float32", device="cpu")),
        "saved, in sentence-transformers": vectors(saved),
    }
    for where, each in found.items():
        for call, expected in wanted.items():
            assert each[call].shape == expected.shape, (where, call)
            assert np.abs(each[call] - expected).max() < 1e-5, (where, call)


POOLING = "1_Pooling/config.json"
TRANSFORMER = "sentence_bert_config.json"
SETTINGS = "config_sentence_transformers.json"
TOKENS = "tokenizer_config.json"
TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}
OLD = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")


def old(*names):
    return {"word_embedding_dimension": 32, **{f"pooling_mode_{name}": name in names for name in OLD}}


FILES = {
    # pooling
    **{f"pooling {name}": (POOLING, old(name)) for name in OLD},
    **{
        f"pooling_mode {name}": (POOLING, {"embedding_dimension": 32, "pooling_mode": name, "include_prompt": False})
        for name in ("cls", "max", "mean", "lasttoken", "weightedmean", "mean_sqrt_len_tokens")
    },
    "two poolings": (POOLING, old("mean_tokens", "cls_token")),
    "all poolings": (POOLING, {**old(*OLD), "include_prompt": False}),
    "poolings in another order": (
        POOLING,
        {"word_embedding_dimension": 32, "pooling_mode": ["mean", "weightedmean", "cls"], "include_prompt": False},
    ),
    "pooling_mode in a list": (POOLING, {"word_embedding_dimension": 32, "pooling_mode": ["lasttoken"]}),
    "flags that are numbers": (
        POOLING,
        {"word_embedding_dimension": 32, "pooling_mode_max_tokens": 1, "pooling_mode_cls_token": 0},
    ),
    "no pooling named": (POOLING, {"word_embedding_dimension": 32}),
    "both forms": (POOLING, {**old("cls_token"), "pooling_mode": "max"}),
    "prompt left out": (POOLING, {**old("mean_tokens"), "include_prompt": False}),
    "prompt taken in": (POOLING, {**old("mean_tokens"), "include_prompt": True}),
    # sentence_bert_config.json
    "short": (TRANSFORMER, {"max_seq_length": 21}),
    "no length": (TRANSFORMER, {}),
    "arguments without effect": (
        TRANSFORMER,
        {"model_args": {"attn_implementation": "eager"}, "tokenizer_args": {"padding_side": "left"}},
    ),
    "length of the tokenizer": (TRANSFORMER, {"max_seq_length": 30, "processor_kwargs": {"model_max_length": 23}}),
    "lower case": (TRANSFORMER, {"max_seq_length": 64, "do_lower_case": True}),
    "length of the call": (TRANSFORMER, {"max_seq_length": 64, "processing_kwargs": {"text": {"max_length": 20}}}),
    "longer than the tokenizer's": (TRANSFORMER, {"max_seq_length": 20, "processing_kwargs": {"common": {"max_length": 50}}}),
    "which call wins": (
        TRANSFORMER,
        {
            "processing_kwargs": {
                "text": {"max_length": 50, "truncation": True},
                "common": {"max_length": 21},
                "image": {"size": 3},
            }
        },
    ),
    "padding of the call": (
        TRANSFORMER,
        {
            "max_seq_length": 40,
            "processing_kwargs": {"text": {"padding": "max_length", "truncation": "only_first", "pad_to_multiple_of": 8}},
        },
    ),
    "never cut": (TRANSFORMER, {"max_seq_length": 20, "processing_kwargs": {"text": {"truncation": False, "max_length": 9}}}),
    "modality": (TRANSFORMER, {"modality_config": {"text": TEXT}, "module_output_name": "token_embeddings"}),
    # config_sentence_transformers.json
    "dimensions": (SETTINGS, {"truncate_dim": 8, "prompts": {"query": "Find:"}}),
    "similarity": (SETTINGS, {"similarity_fn_name": "dot"}),
    "a default": (SETTINGS, {"prompts": {"query": "Find:", "document": ""}, "default_prompt_name": "query"}),
    "distances": (SETTINGS, {"similarity_fn_name": "manhattan"}),
    "versions": (SETTINGS, {"__version__": {"sentence_transformers": "2.2.2"}}),
}


@pytest.mark.parametrize("case", FILES)
def test_settings_that_are_followed(plain, tmp_path, case):
    folder = shutil.copytree(plain, tmp_path / "folder")
    put(folder, *FILES[case])
    agree(folder, tmp_path / "saved")


EDITS = {
    "padding side": (TOKENS, {"padding_side": "left"}),
    "length": (TOKENS, {"model_max_length": 24}),
    "cleaning": (TOKENS, {"clean_up_tokenization_spaces": True}),
    "special tokens in texts": (TOKENS, {"split_special_tokens": True}),
    "prefix": (TOKENS, {"add_prefix_space": True}),
    "lower case": (TOKENS, {"do_lower_case": True}),
    "legacy": (TOKENS, {"legacy": True}),
    "promises that hold": (TOKENS, {"add_bos_token": False, "add_eos_token": True}),
    "promises that do not matter": (TOKENS, {"add_eos_token": False}),
    "direction": ("config.json", {"is_causal": False}),
    "a window": ("config.json", {"is_causal": False, "use_sliding_window": True, "sliding_window": 8, "layer_types": None}),
    "chat template": (TOKENS, {"chat_template": CHAT_TEMPLATE}),  # of no effect in a folder without modality_config
    "labels": ("config.json", {"num_labels": 3}),
    "type": ("config.json", {"torch_dtype": "float32"}),
    "code of the author": ("config.json", {"auto_map": {"AutoModel": "modeling.Model"}}),
    "rope": ("config.json", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}}),
}


@pytest.mark.parametrize("case", EDITS)
def test_edits_that_are_followed(plain, tmp_path, case):
    folder = shutil.copytree(plain, tmp_path / "folder")
    if case == "length":
        put(folder, TRANSFORMER, {})
    name, fields = EDITS[case]
    edit(folder, name, **fields)
    agree(folder, tmp_path / "saved")


def test_code_of_the_author_is_named_when_it_is_not_run(plain, tmp_path, caplog):
    folder = shutil.copytree(plain, tmp_path / "folder")
    bw.load(folder, dtype="float32", device="cpu").save(tmp_path / "saved")
    assert "auto_map" not in caplog.text
    edit(folder, "config.json", auto_map={"AutoModel": "modeling.Bidirectional"})
    bw.load(folder, dtype="float32", device="cpu").save(tmp_path / "again")
    assert "auto_map names the author's code (AutoModel modeling.Bidirectional)" in caplog.text
    assert "vectors are those of transformers' Qwen2Model" in caplog.text
    assert "auto_map" not in (tmp_path / "again" / "config.json").read_text()


def test_files_without_a_setting_have_the_defaults_of_sentence_transformers(plain, tmp_path):
    """A missing include_prompt pools the prompt; the vectors with and without must differ, else
    this shows nothing.
    """
    folder = shutil.copytree(plain, tmp_path / "folder")
    for file in (TRANSFORMER, SETTINGS):
        (folder / file).unlink()
    agree(folder, tmp_path / "saved")
    assert bw.load(folder, dtype="float32", device="cpu").options.pool_prompt
    assert models.Pooling.load(str(folder / "1_Pooling")).include_prompt
    with_prompt = bw.load(folder, dtype="float32", device="cpu").encode(TEXTS, prompt="Given a claim:")
    edit(folder, POOLING, include_prompt=False)
    assert (
        np.abs(bw.load(folder, dtype="float32", device="cpu").encode(TEXTS, prompt="Given a claim:") - with_prompt).max() > 1e-3
    )


def test_other_names_of_the_settings_file_are_read(plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "folder")
    (folder / TRANSFORMER).unlink()
    put(folder, "sentence_roberta_config.json", {"max_seq_length": 22})
    agree(folder, tmp_path / "saved")


STOCK = [
    "BoW",
    "CNN",
    "LSTM",
    "WeightedLayerPooling",
    "WordEmbeddings",
    "WordWeights",
    "StaticEmbedding",
    "Router",
    "Asym",
    "CLIPModel",
]
REFUSED = {
    "add_eos_token": (TOKENS, {"add_eos_token": True, "without": True}),
    "add_bos_token": (TOKENS, {"add_bos_token": True}),
    "truncation_side": (TOKENS, {"truncation_side": "left"}),
    "pooling median": (POOLING, {"pooling_mode": ["mean", "median"]}),
    "pooling []": (POOLING, {"pooling_mode": []}),
    "processing_kwargs.text.add_special_tokens": (TRANSFORMER, {"processing_kwargs": {"text": {"add_special_tokens": False}}}),
    "processing_kwargs.text.truncation": (TRANSFORMER, {"processing_kwargs": {"text": {"truncation": "only_second"}}}),
    "processing_kwargs.text": (TRANSFORMER, {"processing_kwargs": {"text": [3]}}),
    "texts": (TRANSFORMER, {"processing_kwargs": {"texts": {"max_length": 4}}}),
    **{
        name: (TRANSFORMER, {name: value})
        for name, value in (
            ("query_length", 7),
            ("document_length", 7),
            ("tokenizer_name_or_path", "other"),
            ("query_expansion", {"strategy": "fixed", "length": 9}),
            ("transformer_task", "fill-mask"),
        )
    },
    "modality_config.message": (TRANSFORMER, {"modality_config": {"text": TEXT, "message": TEXT}}),
    "modality_config": (TRANSFORMER, {"modality_config": {"text": {**TEXT, "method_output_name": "pooler_output"}}}),
    "tokenizer_args.add_prefix_space": (TRANSFORMER, {"tokenizer_args": {"add_prefix_space": True}}),
    "config_kwargs.sliding_window": (TRANSFORMER, {"config_kwargs": {"sliding_window": 4}}),
    "model_args.num_hidden_layers": (TRANSFORMER, {"model_args": {"num_hidden_layers": 1}}),
    "SparseEncoder": (SETTINGS, {"model_type": "SparseEncoder"}),
    "truncate_dim": (SETTINGS, {"truncate_dim": "8"}),
    "similarity_fn_name": (SETTINGS, {"similarity_fn_name": "jaccard"}),
    "pooling_mode_median": (POOLING, {**old("mean_tokens"), "pooling_mode_median": True}),
    "weighting": (POOLING, {**old("mean_tokens"), "weighting": "sif"}),
    "strip_accents": (TRANSFORMER, {"strip_accents": True}),
    "module_output_name": ("2_Normalize/config.json", {"module_output_name": "unit_vector"}),
    "module_input_name": ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}),
    **{kind: ("modules.json", modules("Transformer", kind, "Pooling")) for kind in STOCK},
    "SpladePooling": (
        "modules.json",
        modules("Transformer", "SpladePooling", package="sentence_transformers.sparse_encoder.models"),
    ),
    "custom_st.Transformer": ("modules.json", modules("custom_st.Transformer", "Pooling")),
    "my.Dense": ("modules.json", modules("Transformer", "Pooling", "my.Dense")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_are_refused_by_name(plain, tmp_path, name):
    folder = shutil.copytree(plain, tmp_path / "folder")
    file, value = REFUSED[name]
    if file == TOKENS:
        edit(folder, file, **value)
        if value.get("without"):
            state = json.loads((folder / "tokenizer.json").read_text())
            put(folder, "tokenizer.json", {**state, "post_processor": state["post_processor"]["processors"][0]})
    else:
        put(folder, file, value)
    with pytest.raises(BothwaysError) as caught:
        bw.load(folder, dtype="float32", device="cpu")
    assert name in str(caught.value) and str(folder) in str(caught.value), caught.value


def dense(inward, outward, **options):
    return models.Dense(inward, outward, **options)


HEADS = {
    "one": lambda: [dense(32, 16)],
    "two, as EmbeddingGemma": lambda: [
        dense(32, 64, bias=False, activation_function=torch.nn.Identity()),
        dense(64, 24, bias=False, activation_function=torch.nn.Identity()),
        models.Normalize(),
    ],
    "every kind": lambda: [
        models.LayerNorm(32),
        dense(32, 40, activation_function=torch.nn.GELU()),
        models.Dropout(0.5),
        models.Normalize(),
    ],
    "unit vectors between": lambda: [models.Normalize(), dense(32, 8, use_residual=True), models.LayerNorm(8)],
    "dropout alone": lambda: [models.Dropout(0.9)],
    "behind two poolings": lambda: [dense(64, 16), models.Normalize()],
}


@pytest.fixture(params=HEADS)
def headed(request, plain, tmp_path):
    torch.manual_seed(1)
    modes = ["cls", "mean"] if request.param == "behind two poolings" else "mean"
    body = [models.Transformer(str(plain)), models.Pooling(32, pooling_mode=modes, include_prompt=False)]
    model = SentenceTransformer(modules=[*body, *HEADS[request.param]()], device="cpu", prompts={"query": "Find:"})
    for module in model:
        if isinstance(module, models.LayerNorm):
            torch.nn.init.normal_(module.norm.weight)
    model.save(str(tmp_path / "folder"))
    return tmp_path / "folder"


def test_layers_behind_the_pooling(headed, tmp_path):
    agree(headed, tmp_path / "saved")
    edit(headed, SETTINGS, truncate_dim=6)
    agree(headed, tmp_path / "cut")
    encoder = bw.load(headed, dtype="float32", device="cpu")
    assert encoder.dimension == 6 and encoder.encode(TEXTS, truncate_dim=4).shape == (len(TEXTS), 4)


def test_a_layer_without_an_input(plain, tmp_path):
    """sentence-transformers reads the folder, and fails when it encodes."""
    body = [models.Transformer(str(plain)), models.Pooling(32), dense(32, 16)]
    SentenceTransformer(modules=body, device="cpu").save(str(tmp_path / "folder"))
    edit(tmp_path / "folder", "2_Dense/config.json", module_input_name=None)
    with pytest.raises((KeyError, TypeError), match="None"):
        SentenceTransformer(str(tmp_path / "folder"), device="cpu").encode("a")
    with pytest.raises(BothwaysError, match=r"2_Dense/config.json: module_input_name is null, .* write 'sentence_embedding'"):
        bw.load(tmp_path / "folder", dtype="float32", device="cpu")


def test_layers_behind_the_pooling_are_trained_on(plain, tmp_path):
    torch.manual_seed(1)
    body = [models.Transformer(str(plain)), models.Pooling(32, pooling_mode="mean", include_prompt=False)]
    SentenceTransformer(modules=[*body, dense(32, 16), models.Normalize()], device="cpu").save(str(tmp_path / "folder"))
    edit(tmp_path / "folder", "config.json", is_causal=False)
    before = bw.load(tmp_path / "folder", dtype="float32", device="cpu")
    before(before.pack(before.tokenize(TEXTS))).square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in before.pooling.parameters())
    chosen = recipe(tmp_path, simcse(), base=str(tmp_path / "folder"))
    after = bw.train(chosen, tmp_path / "out", texts=TRAINING)
    assert after.dimension == 16
    moved = [float((a - b).abs().max()) for a, b in zip(before.pooling.parameters(), after.pooling.parameters())]
    assert min(moved) > 0, "the layer was not trained"
    theirs = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    assert np.abs(theirs - bw.load(tmp_path / "out", dtype="float32", device="cpu").encode(TEXTS)).max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"activation_function": "my.Activation"}, "activation_function 'my.Activation' is the author's code"),
        ({"module_input_name": "token_embeddings"}, "module_input_name"),
        ({"in_features": 31}, "Dense expects vectors of 31 numbers but gets 32"),
        ({"scale": 2}, "scale is a setting that Dense does not have"),
        ({"out_features": 99}, "2_Dense"),
    ],
)
def test_layers_that_do_not_fit_are_refused(plain, tmp_path, fields, words):
    body = [models.Transformer(str(plain)), models.Pooling(32)]
    SentenceTransformer(modules=[*body, dense(32, 16)], device="cpu").save(str(tmp_path / "folder"))
    edit(tmp_path / "folder", "2_Dense/config.json", **fields)
    with pytest.raises(BothwaysError, match=words):
        bw.load(tmp_path / "folder", dtype="float32", device="cpu")
