// Prints the buffer of DM_TABLE_LOAD as the kernel's own header has it, and the numbers of the commands:
//
//	cc -o ioctl ioctl.c && ./ioctl > ioctl.txt    (Debian's linux-libc-dev 6.1, amd64)
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <string.h>

int main(void)
{
	static union { struct dm_ioctl h; unsigned char b[512]; } u;
	const char *params = "1 /dev/vda5 /dev/vda5 4096 4096 20 21";
	struct dm_target_spec *t = (void *)(u.b + sizeof(struct dm_ioctl));
	unsigned n = (sizeof(*t) + strlen(params) + 1 + 7) / 8 * 8;

	u.h.version[0] = 4;
	u.h.data_size = sizeof(struct dm_ioctl) + n;
	u.h.data_start = sizeof(struct dm_ioctl);
	u.h.target_count = 1;
	u.h.flags = DM_READONLY_FLAG;
	strcpy(u.h.name, "root");
	strcpy(u.h.uuid, "PAWL-A");
	t->length = 160;
	t->next = n;
	strcpy(t->target_type, "verity");
	strcpy((char *)(t + 1), params);
	printf("%lx %lx %lx %lx\n", (unsigned long)DM_DEV_CREATE, (unsigned long)DM_DEV_REMOVE,
	       (unsigned long)DM_DEV_SUSPEND, (unsigned long)DM_TABLE_LOAD);
	for (unsigned i = 0; i < u.h.data_size; i++)
		printf("%02x%s", u.b[i], i % 32 == 31 ? "\n" : "");
	printf("\n");
	return 0;
}
