/* A libnvidia-ml.so.1 that says what a small text file tells it to: the file that FAKE_NVML names, read at each call.
 *
 * Lines are "key value". init, count, memory0, name0, processes, mig: the NVML code that call returns (default 0).
 * cards: how many. total0, free0: bytes. text0: the name. driver: the version.
 * compute0, graphics0: "pid bytes pid bytes …", bytes -1 for "not available". sliced0 1: MIG is on. hang S: every
 * call of nvmlDeviceGetMemoryInfo takes S seconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int uint;
typedef unsigned long long ulong64;

enum { SUCCESS = 0, INSUFFICIENT_SIZE = 7 };

struct memory { ulong64 total, free, used; };
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
    static char text[64];
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
    return SUCCESS;
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
