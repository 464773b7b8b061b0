/* The least that a milter can cost which sees every message and replaces its body: C, libmilter,
 * no reply before the end, leading space kept; the new body is as long as an armored one (+35 %).
 * Usage: yardstick SOCKET */

#include <libmilter/mfapi.h>
#include <stdlib.h>
#include <string.h>

struct body { unsigned char *octets; size_t used, room; };

static sfsistat negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
    unsigned long f3, unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3)
{
    *pf0 = SMFIF_CHGBODY;
    *pf1 = f1 & (SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NODATA | SMFIP_NOUNKNOWN | SMFIP_NR_MAIL |
        SMFIP_NR_RCPT | SMFIP_NR_HDR | SMFIP_NR_EOH | SMFIP_NR_BODY | SMFIP_HDR_LEADSPC);
    *pf2 = *pf3 = 0;
    return smfi_setpriv(ctx, calloc(1, sizeof(struct body))) == MI_SUCCESS ? SMFIS_CONTINUE : SMFIS_REJECT;
}

static sfsistat path(SMFICTX *ctx, char **arguments) { return SMFIS_NOREPLY; }
static sfsistat header(SMFICTX *ctx, char *name, char *value) { return SMFIS_NOREPLY; }
static sfsistat eoh(SMFICTX *ctx) { return SMFIS_NOREPLY; }

static sfsistat body(SMFICTX *ctx, unsigned char *octets, size_t size)
{
    struct body *b = smfi_getpriv(ctx);
    if (b->used + size > b->room) b->octets = realloc(b->octets, b->room = 2 * (b->used + size));
    memcpy(b->octets + b->used, octets, size);
    b->used += size;
    return SMFIS_NOREPLY;
}

static sfsistat eom(SMFICTX *ctx)
{
    struct body *b = smfi_getpriv(ctx);
    int failed = smfi_replacebody(ctx, b->octets, b->used) != MI_SUCCESS ||
        smfi_replacebody(ctx, b->octets, b->used * 35 / 100) != MI_SUCCESS;
    b->used = 0;
    return failed ? SMFIS_TEMPFAIL : SMFIS_CONTINUE;
}

static sfsistat gone(SMFICTX *ctx)
{
    struct body *b = smfi_getpriv(ctx);
    smfi_setpriv(ctx, NULL);
    if (b) free(b->octets);
    free(b);
    return SMFIS_CONTINUE;
}

int main(int count, char **arguments)
{
    struct smfiDesc milter = { .xxfi_name = "yardstick", .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_CHGBODY, .xxfi_envfrom = path, .xxfi_envrcpt = path,
        .xxfi_header = header, .xxfi_eoh = eoh, .xxfi_body = body, .xxfi_eom = eom,
        .xxfi_close = gone, .xxfi_negotiate = negotiate };
    if (count != 2 || smfi_setconn(arguments[1]) != MI_SUCCESS) return 64;
    return smfi_register(milter) == MI_SUCCESS && smfi_main() == MI_SUCCESS ? 0 : 70;
}
