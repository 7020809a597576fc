# Every target first makes .venv and installs what it needs there, once (tools/setup.py).

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help book check test bench lab notebooks experiments lock clean

# PYTHON=/path/to/python3 and CHROMIUM=/path/to/chromium name what is not on the PATH.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell /bin/sh tools/find_python.sh)
endif
ifeq ($(origin CHROMIUM), undefined)
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
endif

# pip leaves bytecode to the first import. Where that may not be written, each kernel and each program
# that the tests start would compile PyTorch anew.
unexport PYTHONDONTWRITEBYTECODE

# What the user has set for other programs: modules, kernels and drawing would come from there.
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP PYTHONUSERBASE PYTHONOPTIMIZE PYTHONWARNINGS
unexport JUPYTER_PATH JUPYTER_CONFIG_PATH JUPYTER_PREFER_ENV_PATH MPLBACKEND MATPLOTLIBRC

BIN := .venv/bin

define setup
@command -v "$(PYTHON)" >/dev/null || { \
  echo 'No Python found$(if $(PYTHON), at $(PYTHON)). Python 3.11, 3.12, 3.13 or 3.14 is needed: install one'; \
  echo '(Debian, Ubuntu: apt-get install python3 python3-venv) and run the command again,'; \
  echo 'or name it: make $@ PYTHON=/path/to/python3.13'; exit 1; } >&2
@"$(PYTHON)" tools/setup.py $(1)
endef

help:
	@echo 'make book         build the book: _build/html/index.html'
	@echo 'make check        check style, code and pages, in two minutes'
	@echo 'make test         all of it: that, every notebook run again, every page in Chromium'
	@echo 'make bench        this code beside the libraries, timed side by side'
	@echo 'make lab          open the notebooks in JupyterLab'
	@echo 'make notebooks    bring the notebooks in step with the package and run them again;'
	@echo '                  one of them: make notebooks NOTEBOOK=book/folder/name.ipynb'
	@echo 'make experiments  run the long experiments again'
	@echo 'make lock         resolve the requirements files anew, into locks/'
	@echo 'make clean        remove what was built; rm -rf .venv removes what was installed'

# Sphinx builds only the pages that changed. It warns of a page once, and takes no notice of changed
# assets: after a build that failed or broke off, or a change of what all pages share, it begins anew.
SHARED = _config.yml _toc.yml book/_assets tools/book_extension.py tools/book_fonts.py \
  tools/live_figures.py tools/live_model.py tools/live_review.py weights/mini_bert \
  weights/minilm_mlm.safetensors weights/live_review.safetensors results/live_quantisation.json \
  results/live_review.json .venv/installed.json

book:
	$(call setup,book)
	@[ -e _build/complete ] && [ -z "$$(find $(SHARED) -newer _build/complete)" ] || rm -rf _build
	@rm -f _build/complete
	$(BIN)/jupyter-book build book --config _config.yml --toc _toc.yml --path-output . -W -n --keep-going
	@touch _build/complete
	@echo 'The book: _build/html/index.html'

# One thread in each of pytest's two processes: together they keep two cores busy.
check test: export OMP_NUM_THREADS := 1
test: export CHROMIUM := $(CHROMIUM)

define style
$(BIN)/ruff check .
$(BIN)/ruff format --check .
endef

# What a change of a line breaks first: no browser, no notebook, no test marked slow.
check:
	$(call setup,all)
	$(style)
	@$(MAKE) --no-print-directory book
	$(BIN)/python -m pytest -n 2 -m 'not browser and not slow' tests

# All of that, and the rest.
test:
	@test -x "$(CHROMIUM)" || { \
	  echo 'No Chromium found$(if $(CHROMIUM), at $(CHROMIUM)). The tests open every page in it: install it'; \
	  echo '(Debian: apt-get install chromium) and run the command again, or name it:'; \
	  echo 'make test CHROMIUM=/path/to/chromium'; exit 1; } >&2
	$(call setup,all)
	$(style)
	rm -rf _build
	@$(MAKE) --no-print-directory book
	$(BIN)/python -m pytest -n 2

# Nothing is fetched: no news, no look for updates, no extension catalogue. The notebooks find d3
# and jQuery under /static. Jupyter refuses root unless told otherwise, and in a container there is
# often nobody else. LAB_OPTIONS='--no-browser --port=8000' and the like go to JupyterLab.
lab:
	$(call setup,all)
	@packages="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
	exec $(BIN)/jupyter lab \
	  --ServerApp.root_dir=. $$([ "$$(id -u)" != 0 ] || echo --allow-root) \
	  --ServerApp.extra_static_paths="$$packages/mpld3/js" \
	  --ServerApp.extra_static_paths="$$packages/xstatic/pkg/jquery/data" \
	  --LabApp.default_url=/lab/tree/book \
	  --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  --LabApp.extension_manager=readonly $(LAB_OPTIONS)

notebooks:
	$(call setup,all)
	$(BIN)/python tools/notebooks.py $(NOTEBOOK)

# The live figures are timed in Chromium, where there is one.
bench: export CHROMIUM := $(CHROMIUM)
bench:
	$(call setup,all)
	$(BIN)/python -m benchmarks
	@[ -e _build/complete ] || $(MAKE) --no-print-directory book
	@[ -z "$(CHROMIUM)" ] || { echo; $(BIN)/python -m benchmarks.live; }

experiments:
	$(call setup,all)
	@set -e; for script in experiments/*.py; do \
	  if [ -e "$$script" ]; then echo "$$script"; $(BIN)/python "$$script"; \
	  else echo 'There are no experiments yet.'; fi; done

# Versions that still fit are kept; LOCK_OPTIONS=--upgrade takes the newest.
lock:
	$(call setup,book)
	$(BIN)/python tools/lock.py $(LOCK_OPTIONS)

clean:
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .jupyter_cache
	find benchmarks book experiments src tests tools -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
