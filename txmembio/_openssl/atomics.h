/* The four atomic operations that pump.c needs, for the compilers that build CPython extensions. C11's <stdatomic.h>
 * would do, but MSVC lacks it in C before 2022 and cffi cannot parse _Atomic in a shared struct. */

#ifndef TXM_ATOMICS_H
#define TXM_ATOMICS_H

#ifdef _MSC_VER
#include <intrin.h>
#define TXM_THREAD_LOCAL __declspec(thread)
static inline void *atomic_pointer_swap_if_null(void **where, void *value)
{
    return _InterlockedCompareExchangePointer(where, value, NULL);
}
static inline void atomic_pointer_clear(void **where) { (void)_InterlockedExchangePointer(where, NULL); }
static inline void atomic_long_add(long *where, long value) { (void)_InterlockedExchangeAdd(where, value); }
static inline long atomic_long_get(long *where) { return _InterlockedOr(where, 0); }
#else
#define TXM_THREAD_LOCAL __thread
static inline void *atomic_pointer_swap_if_null(void **where, void *value)
{
    void *before = NULL;
    (void)__atomic_compare_exchange_n(where, &before, value, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE);
    return before;
}
static inline void atomic_pointer_clear(void **where) { __atomic_store_n(where, NULL, __ATOMIC_RELEASE); }
static inline void atomic_long_add(long *where, long value) { (void)__atomic_add_fetch(where, value, __ATOMIC_RELAXED); }
static inline long atomic_long_get(long *where) { return __atomic_load_n(where, __ATOMIC_RELAXED); }
#endif

#endif
