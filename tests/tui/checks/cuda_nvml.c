/* The driver of fake_nvml.c that also tells the CUDA it supports ("cuda 12040") and a card's memory errors ("ecc0 2"). */
#include "../../backends/fake_nvml.c"

int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    *version = (int)number("cuda", 12040);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(const uint *card, int kind, int since, ulong64 *errors)
{
    (void)kind;
    (void)since;
    return figure("ecc", "eccrc", card, errors);
}
