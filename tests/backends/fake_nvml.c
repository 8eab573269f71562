/* A libnvidia-ml.so.1 that says what a small text file tells it to: the file that FAKE_NVML names, read at each call.
 *
 * Lines are "key value". init, count, memory0, name0, processes, mig: the NVML code that call returns (default 0).
 * cards: how many. total0, free0: bytes. text0: the name. driver: the version.
 * compute0, graphics0: "pid bytes pid bytes …", bytes -1 for "not available". sliced0 1: MIG is on. hang S: every
 * call of nvmlDeviceGetMemoryInfo takes S seconds.
 *
 * energy0: mJ. power0, limit0: mW. profile0 "t w t w …": power as straight lines between these points, seconds after
 * epoch (CLOCK_MONOTONIC), and energy as its exact integral. busy0: per cent. celsius0: degrees. reasons0, oldreasons0:
 * clock event reasons by their new and by their old name. A figure without its key is not supported. energyrc0,
 * powerrc0, limitrc0, busyrc0, celsiusrc0, reasonsrc0, oldreasonsrc0, uuidrc0, handle0: the code of that call.
 * hangenergy, hangpower: seconds that such a call takes, with a fraction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int uint;
typedef unsigned long long ulong64;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

struct memory { ulong64 total, free, used; };
struct utilization { uint gpu, memory; };
struct process { uint pid; ulong64 bytes; uint gpu_instance, compute_instance; };

/* The devices' handles are pointers to their own indices. */
static uint indices[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static int look_up(const char *key, char *value, size_t size)
{
    char line[1024];
    size_t length = strlen(key);
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    int found = 0;
    if (!file)
        return 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static ulong64 number(const char *key, ulong64 otherwise)
{
    char value[64];
    return look_up(key, value, sizeof value) ? strtoull(value, NULL, 10) : otherwise;
}

static const char *of_card(const char *key, const uint *card)
{
    static __thread char text[64];
    snprintf(text, sizeof text, "%s%u", key, *card);
    return text;
}

int nvmlInitWithFlags(uint flags) { (void)flags; return (int)number("init", SUCCESS); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "an error"; }

int nvmlSystemGetDriverVersion(char *version, uint size)
{
    if (!look_up("driver", version, size))
        snprintf(version, size, "550.54.14");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(uint *count)
{
    *count = (uint)number("cards", 1);
    return (int)number("count", SUCCESS);
}

int nvmlDeviceGetHandleByIndex_v2(uint index, uint **device)
{
    *device = &indices[index];
    return (int)number(of_card("handle", *device), SUCCESS);
}

int nvmlDeviceGetUUID(const uint *card, char *uuid, uint size)
{
    snprintf(uuid, size, "GPU-fake-%u", *card);
    return (int)number(of_card("uuidrc", card), SUCCESS);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, uint **device)
{
    uint index;
    if (sscanf(uuid, "GPU-fake-%u", &index) != 1 || index > 15)
        return NOT_FOUND;
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

int nvmlDeviceGetName(const uint *card, char *name, uint size)
{
    if (!look_up(of_card("text", card), name, size))
        snprintf(name, size, "Fake RTX");
    return (int)number(of_card("name", card), SUCCESS);
}

int nvmlDeviceGetMemoryInfo(const uint *card, struct memory *memory)
{
    sleep((uint)number("hang", 0));
    memory->total = number(of_card("total", card), 8589934592ULL);
    memory->free = number(of_card("free", card), 8589934592ULL);
    memory->used = memory->total - memory->free;
    return (int)number(of_card("memory", card), SUCCESS);
}

int nvmlDeviceGetMigMode(const uint *card, uint *current, uint *pending)
{
    *current = *pending = (uint)number(of_card("sliced", card), 0);
    return (int)number("mig", SUCCESS);
}

static int processes(const char *key, uint *count, struct process *list)
{
    char value[512] = "", *word = value, *end;
    uint found = 0, room = *count;
    int code = (int)number("processes", SUCCESS);
    if (code)
        return code;
    look_up(key, value, sizeof value);
    for (;;) {
        ulong64 pid = strtoull(word, &end, 10);
        if (end == word)
            break;
        ulong64 bytes = (ulong64)strtoll(end, &word, 10);
        if (list && found < room) {
            struct process one = {(uint)pid, bytes, 0xFFFFFFFF, 0xFFFFFFFF};
            list[found] = one;
        }
        found++;
    }
    *count = found;
    return found > (list ? room : 0) ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(const uint *card, uint *count, struct process *list)
{
    return processes(of_card("compute", card), count, list);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(const uint *card, uint *count, struct process *list)
{
    return processes(of_card("graphics", card), count, list);
}

/* Seconds, from a key that may have a fraction. */
static double seconds(const char *key)
{
    char value[64];
    return look_up(key, value, sizeof value) ? strtod(value, NULL) : 0;
}

static void hang(const char *key)
{
    double whole = seconds(key);
    struct timespec time = {(time_t)whole, (long)((whole - (double)(time_t)whole) * 1e9)};
    nanosleep(&time, NULL);
}

/* Power in W now, and the energy in J since the epoch, both from the card's profile; 0 if it has none. */
static int follow(const uint *card, double *watts, double *joules)
{
    char value[512], *word = value, *end;
    struct timespec clock;
    double now, from, to, before, after;
    if (!look_up(of_card("profile", card), value, sizeof value))
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    now = (double)clock.tv_sec + (double)clock.tv_nsec / 1e9 - seconds("epoch");
    *joules = 1000;
    from = 0;
    before = -1;
    for (;;) {
        to = strtod(word, &end);
        if (end == word)
            break;
        after = strtod(end, &word);
        if (before < 0)
            before = after;
        if (now < to) {
            after = before + (after - before) * (now - from) / (to - from);
            to = now;
        }
        if (to > from)
            *joules += (before + after) / 2 * (to - from);
        from = to > from ? to : from;
        before = after;
        if (from >= now)
            break;
    }
    if (now > from)
        *joules += before * (now - from);
    *watts = before;
    return 1;
}

int nvmlDeviceGetTotalEnergyConsumption(const uint *card, ulong64 *energy)
{
    double watts, joules = 0;
    int followed = follow(card, &watts, &joules);
    hang("hangenergy");
    *energy = followed ? (ulong64)(joules * 1000) : number(of_card("energy", card), 0);
    return (int)number(of_card("energyrc", card), followed || *energy ? SUCCESS : NOT_SUPPORTED);
}

int nvmlDeviceGetPowerUsage(const uint *card, uint *power)
{
    double watts = 0, joules;
    int followed = follow(card, &watts, &joules);
    hang("hangpower");
    *power = followed ? (uint)(watts * 1000 + 0.5) : (uint)number(of_card("power", card), 0);
    return (int)number(of_card("powerrc", card), followed || *power ? SUCCESS : NOT_SUPPORTED);
}

/* A figure that is not supported unless its key is there. */
static int figure(const char *key, const char *code, const uint *card, ulong64 *value)
{
    char text[64];
    int found = look_up(of_card(key, card), text, sizeof text);
    *value = found ? strtoull(text, NULL, 0) : 0;
    return (int)number(of_card(code, card), found ? SUCCESS : NOT_SUPPORTED);
}

int nvmlDeviceGetEnforcedPowerLimit(const uint *card, uint *limit)
{
    ulong64 value;
    int code = figure("limit", "limitrc", card, &value);
    *limit = (uint)value;
    return code;
}

int nvmlDeviceGetTemperature(const uint *card, int sensor, uint *celsius)
{
    ulong64 value;
    int code = figure("celsius", "celsiusrc", card, &value);
    (void)sensor;
    *celsius = (uint)value;
    return code;
}

int nvmlDeviceGetUtilizationRates(const uint *card, struct utilization *rates)
{
    ulong64 value;
    int code = figure("busy", "busyrc", card, &value);
    rates->gpu = (uint)value;
    rates->memory = 0;
    return code;
}

int nvmlDeviceGetCurrentClocksEventReasons(const uint *card, ulong64 *reasons)
{
    return figure("reasons", "reasonsrc", card, reasons);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(const uint *card, ulong64 *reasons)
{
    return figure("oldreasons", "oldreasonsrc", card, reasons);
}
