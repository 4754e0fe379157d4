/* Preloaded into a program, counts what each of its threads allocates and locks, for another
   process to read while it runs: rows of `struct counts` in the file that MILLRACE_COUNTS names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { rows_max = 256 };

struct counts {
    uint64_t thread; /* its id; 0: no such row */
    uint64_t allocations;
    uint64_t frees;
    uint64_t locks;
};

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static struct counts spare, *rows;
static atomic_uint taken;
static int (*lock_mutex)(pthread_mutex_t *);
static void *(*allocate_huge)(const char *, size_t, unsigned);

static __thread struct counts *own __attribute__((tls_model("initial-exec")));

/* ISO C knows no way from a data pointer to a function's but by its bytes. */
#define FIND(function, name)                              \
    do {                                                  \
        void *found = dlsym(RTLD_NEXT, name);             \
        memcpy(&(function), &found, sizeof(function));    \
    } while (0)

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MILLRACE_COUNTS");
    if (path == NULL) return;
    const int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, rows_max * sizeof(struct counts)) != 0) return;
    void *memory = mmap(NULL, rows_max * sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED,
                        file, 0);
    close(file);
    if (memory != MAP_FAILED) rows = memory;
}

static struct counts *counts(void) {
    if (own != NULL) return own;
    if (rows == NULL) return &spare; /* not begun yet, or nobody wants to know */
    const unsigned row = atomic_fetch_add(&taken, 1);
    if (row >= rows_max) return &spare;
    own = &rows[row];
    own->thread = (uint64_t)syscall(SYS_gettid);
    return own;
}

void *malloc(size_t size) {
    ++counts()->allocations;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    ++counts()->allocations;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    ++counts()->allocations;
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    ++counts()->allocations;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = memalign(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}

void *rte_malloc(const char *type, size_t size, unsigned alignment) {
    ++counts()->allocations;
    if (allocate_huge == NULL) FIND(allocate_huge, "rte_malloc");
    return allocate_huge(type, size, alignment);
}

void free(void *memory) {
    if (memory != NULL) ++counts()->frees;
    __libc_free(memory);
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
    ++counts()->locks;
    if (lock_mutex == NULL) FIND(lock_mutex, "pthread_mutex_lock");
    return lock_mutex(mutex);
}
