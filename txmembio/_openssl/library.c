/* Which OpenSSL is really mapped: every 3.x shares one SONAME, so the file says more than the name. */

#ifndef _WIN32
#define _GNU_SOURCE /* dladdr() */
#include <dlfcn.h>
#else
#include <windows.h>
#endif

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "pump.h"

/* Writes the path of the file that OpenSSL's code was loaded from. Returns 1, or 0 where the platform cannot say. */
int txm_library_path(char *path, size_t room)
{
#ifdef _WIN32
    HMODULE module = NULL;
    DWORD length;
    /* A function's address would be that of the stub in our own file that jumps to it; this points to libssl's data. */
    if (!GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (LPCSTR)TLS_method(), &module))
        return 0;
    length = GetModuleFileNameA(module, path, (DWORD)room);
    return length > 0 && length < room;
#else
    Dl_info info;
    /* A function's address may not be cast to a data pointer in strict C; POSIX dlsym(3) demands that it works. */
    SSL *(*const function)(SSL_CTX *) = SSL_new;
    void *address = *(void *const *)(const void *)&function;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL)
        return 0;
    return OPENSSL_strlcpy(path, info.dli_fname, room) < room;
#endif
}
