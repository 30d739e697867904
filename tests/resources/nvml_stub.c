/* A pretended libnvidia-ml.so.1 with one card, which replays the trace that NVML_TRACE names.
 *
 * One line a look: count handle used_mib total_mib load temperature milliwatts reasons; the first
 * two are return codes of NVML. Each nvmlDeviceGetCount goes on by a line, the last one stays.
 * After code 1 (uninitialized) everything fails until nvmlInit is called again, as after a reset.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;

static FILE *trace;
static unsigned line[8];
static int ready, forgotten;

int nvmlInitWithFlags(unsigned flags) { (void)flags; ready = 1; forgotten = 0; return 0; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { ready = 0; return 0; }
const char *nvmlErrorString(int code) {
    return code == 15 ? "GPU is lost" : code == 1 ? "Uninitialized" : "Unknown Error";
}
static void next(void) {
    unsigned read[8];
    if (!trace) trace = fopen(getenv("NVML_TRACE"), "r");
    if (fscanf(trace, "%u %u %u %u %u %u %u %u", read, read + 1, read + 2, read + 3, read + 4,
               read + 5, read + 6, read + 7) == 8)
        memcpy(line, read, sizeof line);
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    if (!ready || forgotten) return 1;
    next();
    *count = 1;
    if (line[0] == 1) forgotten = 1;
    return line[0];
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    (void)index;
    *handle = line;
    return forgotten ? 1 : line[1];
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    (void)handle;
    snprintf(name, length, "Stub 4090");
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    (void)handle;
    memory->used = (unsigned long long)line[2] << 20;
    memory->total = (unsigned long long)line[3] << 20;
    memory->free = memory->total - memory->used;
    return 0;
}
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) {
    (void)handle;
    rates->gpu = line[4];
    rates->memory = 0;
    return 0;
}
int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees) {
    (void)handle, (void)sensor;
    *degrees = line[5];
    return 0;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned *milliwatts) {
    (void)handle;
    *milliwatts = line[6];
    return line[6] ? 0 : 3; /* not supported */
}
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) {
    (void)handle;
    *reasons = line[7];
    return 0;
}
