"""OpenSSL, through cffi. The only folder that knows C; the core imports it, and nobody else may."""
