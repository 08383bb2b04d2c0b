/* A DMA heap for programs on a kernel without one: every buffer is a memfd. Loaded with LD_PRELOAD.
 *
 * libcamera's virtual camera and picamera2 only map their buffers, so plain memory serves them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAPS "/dev/dma_heap/"

typedef int (*open_function)(const char *, int, ...);
typedef int (*ioctl_function)(int, unsigned long, ...);

/* /dev/null stands for every heap: it opens, and is closed, as a heap would be. */
static int open_with(const char *name, const char *path, int flags, mode_t mode)
{
    open_function next = (open_function)dlsym(RTLD_NEXT, name);
    return next(strncmp(path, HEAPS, strlen(HEAPS)) == 0 ? "/dev/null" : path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_with("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_with("open64", path, flags, mode);
}

static int allocate(struct dma_heap_allocation_data *request)
{
    int memory = memfd_create("dma-heap", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, request->len) != 0) return -1;
    request->fd = memory;
    return 0;
}

int ioctl(int descriptor, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == DMA_HEAP_IOCTL_ALLOC) return allocate(argument);
    /* synchronize, set a name: nothing to do for memory */
    if (_IOC_TYPE(request) == DMA_BUF_BASE && _IOC_NR(request) <= 1) return 0;
    ioctl_function next = (ioctl_function)dlsym(RTLD_NEXT, "ioctl");
    return next(descriptor, request, argument);
}
