"""OpenSSL as it is: its own defaults, one of its operations at a time, its own objects.

The rest of the core decides for its users: which errors they see, what a context starts with, what is checked. A facade
that mirrors OpenSSL's API, as pyOpenSSL's is, has to leave that to its own users, and builds on this package instead.

    context.py      NativeContext, an SSLContext that starts with OpenSSL's defaults
    connection.py   NativeConnection, a Connection that can also be taken through its steps one by one
    x509.py         certificates, requests, names and keys that can be changed
    store.py        trust stores, and verification without a connection
    errors.py       OpenSSL's whole error queue
"""
