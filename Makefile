# The two commands of the quick start are `make demo` and `make test`; everything else builds on the same .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRAMEWORKS := .venv-frameworks
CLIENTS := .venv-clients
STAMP := $(VENV)/.ready

.PHONY: setup demo test fuzz kill mutate deepspeed qlora ray check lint types bench speed quality families exports frameworks clients stores docs look picture clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "bothways needs Python 3.10 or newer; say make PYTHON=python3.12 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/bothways demo

# Two processes of one thread each: on two cores that is a third faster than one process.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Not part of CI: DeepSpeed compiles its exchange between CPU processes when it is first used.
deepspeed: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,deepspeed]'
	$(BIN)/python -m pytest tests/unit/training/parallel/test_zero.py

# Not part of CI: bitsandbytes is large.
qlora: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,qlora]'
	$(BIN)/python -m pytest tests/unit/backbone/adapter/test_four_bits.py

# Not part of CI: Ray is large, and starting a cluster takes half a minute.
ray: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,ray]'
	$(BIN)/python -m pytest tests/unit/bulk/test_on_ray.py

# 2,500 broken inputs through the command line; CI runs a small share of them (tests/fuzz/test_fuzz.py).
fuzz: setup
	$(BIN)/python tests/fuzz/run.py

# Slow, and not part of CI: single changes of the sources that no test notices.
mutate: setup
	$(BIN)/python benchmarks/mutate.py

check: setup lint types docs test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Slow, and not part of CI: our speed next to other libraries', in one run of some twenty minutes. A library that is not in .venv
# has an environment of its own, which reads torch and bothways from .venv. One that cannot be installed is named in the table.
BENCH := .venv-bench
bench: $(BENCH)-llm2vec/.ready $(BENCH)-llama-cpp/.ready $(BENCH)-graphs/.ready
	$(BIN)/bothways bench --work runs/bench --out runs/bench.json

$(BENCH)-llm2vec/.ready: WANTED := --constraint constraints-bench.txt llm2vec transformers peft numpy tokenizers huggingface-hub accelerate datasets fsspec
$(BENCH)-llama-cpp/.ready: WANTED := numpy 'xllamacpp>=2026.4'
$(BENCH)-graphs/.ready: WANTED := --constraint constraints.txt onnx onnxscript onnxruntime openvino
$(BENCH)-older-st/.ready: WANTED := sentence-transformers==5.2.0 transformers==5.2.0
$(BENCH)-transformers-4/.ready: WANTED := 'transformers>=4.57,<5'
$(BENCH)-%/.ready: | $(STAMP)
	test -x $(BENCH)-$*/bin/python || $(BIN)/python -m venv $(BENCH)-$*
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> $$($(BENCH)-$*/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/bothways-bench.pth
	$(BENCH)-$*/bin/python -m pip install --quiet --disable-pip-version-check $(WANTED) && touch $@ || echo "$* cannot be installed here"

# Attention, dropout and encoding on this machine: what the choices in attention/kernel.py rest on.
speed: setup
	$(BIN)/python benchmarks/run.py

quality: setup
	$(BIN)/python benchmarks/quality.py

families: setup
	$(BIN)/bothways families --out docs/families.md

# Runs each export in its server's own code and writes docs/serving.md, in some 30 minutes on one core. xllamacpp is a ready wheel of
# llama.cpp, some 100 MB. llm2vec, transformers 4 and the oldest sentence-transformers that reads the direction have environments of
# their own.
exports: setup $(BENCH)-older-st/.ready $(BENCH)-llm2vec/.ready $(BENCH)-transformers-4/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,export,verify]'
	OLDER_ST_PYTHON=$(BENCH)-older-st/bin/python LLM2VEC_PYTHON=$(BENCH)-llm2vec/bin/python \
		TRANSFORMERS_4_PYTHON=$(BENCH)-transformers-4/bin/python $(BIN)/python -m pytest \
		tests/unit/exports tests/unit/attention/test_older_loaders.py tests/unit/bench/test_serving_script.py \
		tests/parity/test_export_llama_cpp.py tests/parity/test_export_graphs.py tests/parity/test_export_older_loaders.py
	LLM2VEC_PYTHON=$(BENCH)-llm2vec/bin/python $(BIN)/python benchmarks/serving.py

# The card's code and examples/frameworks in LangChain, LlamaIndex, Haystack and Chroma, in an environment of their own: two minutes.
frameworks:
	test -x $(FRAMEWORKS)/bin/python || $(PYTHON) -m venv $(FRAMEWORKS)
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-frameworks.txt torch
	$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-frameworks.txt --editable . \
		langchain-core langchain-huggingface llama-index-core llama-index-embeddings-huggingface haystack-ai \
		sentence-transformers-haystack chromadb
	$(FRAMEWORKS)/bin/python -W ignore tests/frameworks/run.py $(BASES)

# A live server asked by openai, LangChain, LlamaIndex and schemathesis, which have an environment of their own, and by Chromium.
clients: setup
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check \
		openai langchain-openai llama-index-embeddings-openai-like schemathesis
	$(BIN)/python tests/clients/run.py $(CLIENTS)/bin
	$(BIN)/python -m pytest tests/unit/serving/test_served_documents.py -k browser

# Indexes in Qdrant (its client's local mode) and in PostgreSQL with pgvector, which the package pgserver brings.
stores: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[dev,qdrant,pgvector]' pgserver
	$(BIN)/python tests/stores/run.py

# The documentation site in build/site: pages of docs/, and a reference made from the code. Strict: a dead link is an error.
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet

# The README's picture from docs/results/demo.json, which `bothways demo --json` writes.
picture: setup
	$(BIN)/python benchmarks/picture.py

# The report in headless Chromium: phone, desktop, light, dark and print, in build/look. Not part of CI: it needs a browser.
look: setup
	$(BIN)/python tests/look/run.py

# Kills the verbs that write at random times and at changes of the file system, and compares with undisturbed runs: some 15 minutes.
kill: setup
	$(BIN)/python tests/kill/kill.py

clean:
	rm -rf $(VENV) $(FRAMEWORKS) $(CLIENTS) $(BENCH)-* runs build dist
