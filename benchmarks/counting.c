/* Tells callgrind what to count: loaded by counted.py, inside of valgrind. Outside of it each of these does nothing. */
#include <valgrind/callgrind.h>

/* Counting begins switched off (--collect-atstart=no), so the first call switches it on. */
void counting_toggle(void) { CALLGRIND_TOGGLE_COLLECT; }

/* Writes what was counted since the last time into a file of its own, in which `name` stands. */
void counting_dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }

/* Has everything from here on watched, which makes it slower still (--instr-atstart=no). Returns 0 outside of valgrind. */
int counting_begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    return RUNNING_ON_VALGRIND != 0;
}
