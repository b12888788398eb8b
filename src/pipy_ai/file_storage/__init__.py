"""Store files at a provider: upload, download and delete them."""
