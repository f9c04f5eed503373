"""Old import paths of modules, and old names in modules. They work, with a DeprecationWarning.

For example, `from bothways.data.supervised import read_examples` gives the function of
`bothways.data.labeled.labeled_reader`. Both names are one module object, so classes and patches are
shared. If a single name moved, its old module ends with `__getattr__ = old_names(__name__)`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# (old package, new package, modules; "old=new" if the module has another name as well)
_ROWS = (
    (
        "data",
        "data.labeled",
        "answers=right_answers beir classes examples=example fields=labeled_row "
        "supervised=labeled_reader pairs=graded_pairs templates dialects",
    ),
    (
        "data.dialects",
        "data.labeled.dialects",
        "base=dialect dpr e5 flagembedding instructed ms_swift nli nomic sentence_transformers simcse sts tevatron",
    ),
    ("data", "data.formats", "cells columnar compressed delimited json_tables"),
    (
        "data",
        "data.text",
        "blocks=packing documents readers passages sentences stop_words views=text_views",
    ),
    ("data", "data.embedded", "stdlib stdlib_pairs stdlib_source"),
    ("data", "data", "overlap=decontamination mixing=batches sampling=batches"),
    ("data.conversion", "data.conversion", "labelled=label_texts sampling=stratified"),
    ("data.conversion", "data", "lexical=lexicon"),
    ("data.search", "search", "bm25 dense shards=vector_shards topk vectors"),
    (
        "data.mining",
        "mining",
        "documents=corpus fill filters=document_filters group known mine options refresh=refresher sample "
        "search=candidates select statistics work=work_folder",
    ),
    (
        "evaluation",
        "evaluation.tasks",
        "sts retrieval reranking classification clustering prefix words perplexity passkey "
        "topics stdlib pair_classification=pairs geometry_task=geometry layers_task=layers",
    ),
    ("evaluation", "evaluation.measures", "trec=ranking geometry densities spans classifiers knn"),
    (
        "evaluation",
        "evaluation.inputs",
        "labelled=labeled_sets beir=beir_collection pair_collection conll data=named_data contradictions",
    ),
    ("evaluation", "evaluation.language_model", "language_task topics_text embedding_words"),
    (
        "evaluation",
        "evaluation.probing",
        "token_passes word_states word_alignment array_file layers=layer_cosines probe=linear_probe weights=encoder_digest",
    ),
    ("evaluation", "evaluation", "items=item_scores identity=model_identity"),
    (
        "backbone",
        "backbone.adapter",
        "adapters=lora adapter_config adapter_files merging new_tokens",
    ),
    ("backbone", "backbone.tokenizer", "tokenizers=preparation tokenizer_file older_tokenizers"),
    (
        "backbone",
        "backbone.loading",
        "sources checkpoints=checkpoint_loading left_out gguf_source hub embedded wheel",
    ),
    ("backbone", "backbone.family", "families proof=family_proof zoo"),
    (
        "encoder",
        "encoder.texts",
        "tokenization text_prefix split_patterns embedding_rows prompts boundary",
    ),
    ("encoder", "encoder.chunks", "late_chunking chunk_spans chunk_pooling"),
    ("encoder", "encoder", "build=convert files=vector_files"),
    (
        "encoder",
        "encoder.proof",
        "doctor checks comparison=vector_comparison disk temporary=temporary_state",
    ),
    (
        "encoder",
        "encoder.folder",
        "storage=write reading=read llm2vec_folder=llm2vec llm2vec_texts card adapter_folder "
        "adapter_settings head_modules pooling_module template_module prompt_templates "
        "settings=published_settings",
    ),
    (
        "training",
        "training.recipe",
        "run=recipe overrides files=recipe_files yaml_text data_config llm2vec_json llm2vec_e5 llm2vec_words trainer_keys",
    ),
    (
        "training",
        "training.loop",
        "trainer steps=optimizer_step update=weight_update optim randomness signals metrics checkpoints precision",
    ),
    (
        "training",
        "training.stage",
        "start=stage_setup finish=stage_output data=stage_data mined=bm25_negatives "
        "refresh=negative_refresh heldout collapse language_model estimate "
        "occupied=folder_lock kept=kept_adapters later=later_stages overwrite",
    ),
    ("training", "training.parallel", "launch=parallel_request sharding zero"),
    ("cli", "cli", "evaluated=open_model"),
    (
        "cli",
        "cli.verbs",
        "ablate convert demo doctor encode evaluate export families mine prepare push recipes report search train",
    ),
    (
        "exports",
        "exports.gguf",
        "gguf_families gguf_folder gguf_settings gguf_vocabulary llama_cpp",
    ),
    (
        "exports",
        "exports.graphs",
        "graph=padded_encoder graph_folder onnx_graph openvino_graph exported",
    ),
    ("exports", "exports.folders", "llm2vec_folder st_folder folder_loaders folder_verify"),
    ("exports", "exports.servers", "server_check server_folder server_readme server_rules"),
    ("report.charts", "report.charts", "colours=colors"),
    ("recipes", "recipes", "labelled=labeled"),
    # names that another package has too, with another meaning
    (
        "ablation",
        "ablation",
        "run=ablate plan=ablation_plan rows=ablation_rows library=stage_library",
    ),
    ("backbone.loading", "backbone.loading", "checkpoints=checkpoint_loading"),
    ("backbone.family", "backbone.family", "proof=family_proof"),
    ("bench", "bench", "run=run_bench connection=worker_handle"),
    ("bulk", "bulk", "pool=encoder_pool model=model_request"),
    ("cli", "cli", "words=command_words"),
    ("data.labeled", "data.labeled", "answers=right_answers pairs=graded_pairs"),
    ("data.labeled.dialects", "data.labeled.dialects", "base=dialect"),
    ("data.conversion", "data.conversion", "labeled_text=label_texts"),
    ("data.formats", "data.formats", "shards=shard_names"),
    ("data", "data", "sources=text_sources"),
    ("encoder", "encoder", "prepare=prepare_backbone"),
    ("encoder.proof", "encoder.proof", "comparison=vector_comparison"),
    ("evaluation.mteb", "evaluation.mteb", "hub=hub_tasks"),
    ("evaluation.inputs", "evaluation.inputs", "labeled=labeled_sets"),
    ("exports.graphs.short", "exports.graphs.short", "proof=graph_proof"),
    ("indexing", "indexing", "rows=index_rows model=index_model"),
    ("mining", "mining", "filters=document_filters"),
    ("objectives", "objectives", "base=objective documents=document_tokens"),
    ("publishing", "publishing", "figures=card_figures places=machine_paths errors=hub_answers"),
    ("recipes", "recipes", "base=recipe_parts"),
    ("report", "report", "columns=result_columns gather=material statistics=bootstrap"),
    ("report.sections", "report.sections", "origin=reproduction"),
    ("search", "search", "shards=vector_shards"),
    ("serving", "serving", "run=serve documents=served_documents vectors=answer_vectors"),
    ("training.loop", "training.loop", "update=weight_update"),
    ("training.stream", "training.stream", "examples=example_stream"),
)
MOVED = {
    f"bothways.{before}.{old}": f"bothways.{after}.{new or old}"
    for before, after, names in _ROWS
    for old, _, new in (name.partition("=") for name in names.split())
}
MOVED |= {
    "bothways.encoder.similarity": "bothways.similarity",
    "bothways.evaluation.encoding": "bothways.search.vectors",
    "bothways.evaluation.ranking": "bothways.search.ranker",
    "bothways.evaluation.bm25": "bothways.search.bm25_ranker",
    "bothways.data.mining": "bothways.mining",
    "bothways.data.search": "bothways.search",
}
"""Old module name to new module name."""

RENAMED = {
    "encoder.convert.load": "encoder.load.load",
    "encoder.convert.is_encoder": "encoder.load.is_encoder",
    "encoder.convert.local_folder": "encoder.load.local_folder",
    "encoder.convert.is_exported_graph": "encoder.load.is_exported_graph",
    "recipes.Entry": "recipes.entries.RecipeEntry",
    "evaluation.mteb.Style": "evaluation.mteb.instructions.PromptStyle",
    "exports.gguf.write_gguf": "exports.gguf.gguf_file.write_gguf",
    "exports.gguf.check": "exports.gguf.gguf_file.check",
    "exports.gguf.POOLINGS": "exports.gguf.gguf_file.POOLINGS",
    "exports.gguf.TYPES": "exports.gguf.gguf_file.TYPES",
    "backbone.loading.sources.EXPORT": "backbone.loading.model_source.EXPORT",
    "backbone.loading.sources.TOKENIZER_FILES": "backbone.loading.model_source.TOKENIZER_FILES",
    "backbone.loading.sources.Kind": "backbone.loading.model_source.SourceKind",
}
_NAMES = (
    ("attention.reach", "Block", "QueryBlock"),
    ("attention.plan", "Run", "SegmentRun"),
    ("attention.plan", "Group", "SegmentGroup"),
    ("bulk.settings", "Settings", "JobSettings"),
    ("backbone.linears.products", "Product", "LinearProduct"),
    ("encoder.inference", "Settings", "EncodeSettings"),
    ("objectives.pooled", "Settings", "PooledSettings"),
    ("ablation.forecast", "Training", "PlannedTraining"),
    ("evaluation.tasks.perplexity", "Window", "ScoredWindow"),
    ("data.labeled.right_answers", "Answers", "RightAnswers"),
    ("data.labeled.beir", "Judged", "JudgedSplit"),
    ("evaluation.tasks.retrieval", "Judged", "JudgedCollection"),
    ("report.sections.examples", "Judged", "JudgedItems"),
    ("recipes.entries", "Entry", "RecipeEntry"),
    ("training.hooks.evaluation", "DevMetric", "DevMeasurement"),
    ("report.material", "Run", "TrainingRun"),
    ("training.loop.weight_update", "Update", "WeightUpdate"),
    ("training.recipe.stage_config", "ObjectiveConfig", "AnyObjective"),
    ("evaluation.mteb.instructions", "Style", "PromptStyle"),
    ("recipes.nv_embed", "Order", "StageOrder"),
    ("recipes.llara", "Mode", "LlaraVariant"),
    ("encoder.folder.head_modules", "Kind", "ModuleKind"),
    ("training.recipe.llm2vec_keys", "Kind", "ScriptKind"),
    ("losses.quantization", "Precision", "QuantizedPrecision"),
    ("encoder.texts.prompts", "Role", "PromptRole"),
    ("evaluation.probing.array_file", "Blocks", "RowBlocks"),
    ("report.material", "Model", "ReportedModel"),
    ("encoder.chunks.chunk_spans", "Span", "CharacterSpan"),
    ("losses.false_negatives", "Texts", "BatchTexts"),
    ("data.dataset_card", "Splits", "SplitFiles"),
    ("recipes.llara", "Form", "LlaraForm"),
    ("config", "Layers", "PooledLayers"),
    ("encoder.chunks.chunk_pooling", "Places", "TokenPlaces"),
    ("ablation.reuse", "State", "NodeState"),
    ("recipes.recipe_parts", "Texts", "TextSources"),
    ("data.text.documents", "Unit", "DocumentUnit"),
    ("ablation.ablation_rows", "Row", "AblationRow"),
)
# (module, old name, new name), of names that had a second meaning elsewhere
RENAMED |= {f"{module}.{old}": f"{module}.{new}" for module, old, new in _NAMES}

"""Old name to new name of a class, function or constant, without "bothways." in front."""


def old_names(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module that has names in `RENAMED`.

    For example, `__getattr__ = old_names(__name__)`.
    """

    def find(name: str) -> Any:
        new = RENAMED.get(f"{module.removeprefix('bothways.')}.{name}")
        if new is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is bothways.{new} now", DeprecationWarning, stacklevel=2)
        home, _, own = new.rpartition(".")
        return getattr(importlib.import_module(f"bothways.{home}"), own)

    return find


class _Finder:
    """A finder and loader of `sys.meta_path` that imports the new module for an old name."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for the old names in `MOVED`, and None for every other name."""
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that has the new name."""
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, because the import system has replaced it."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


FINDER = _Finder()
"""`bothways.__init__` puts a finder that asks this one first into `sys.meta_path`."""
