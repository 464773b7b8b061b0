/* Preloaded into Postfix: a disk without a write cache, on which syncing takes 10 ms. Nothing
 * is really synced: how fast this machine's disk is shall not matter. */

#include <time.h>

static int slow(void)
{
    const struct timespec latency = { 0, 10 * 1000 * 1000 };
    return nanosleep(&latency, 0);
}

int fsync(int descriptor) { return slow(); }
int fdatasync(int descriptor) { return slow(); }
