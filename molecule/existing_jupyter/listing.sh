cd / && find opt/conda usr/local -type f ! -path '*/__pycache__/*' -exec sha256sum {} + | sort -k 2
