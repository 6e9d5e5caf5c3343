"""What the tests share: certificates, pairs of connections, peers. Imported as `from support import pki`."""
