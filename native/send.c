// One buffer to many stream sockets, each taking as much of it at once as it has room for: what Node's streams do for one socket
// after the other costs a call into C++, an object and a callback each. Where the kernel allows io_uring, a thousand sends
// enter it together.
#define NAPI_VERSION 8
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#endif
#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 // Node ignores SIGPIPE
#endif

#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#define ENTRIES 1024u

static int32_t send_one(int fd, const uint8_t *data, size_t length) {
  ssize_t sent;
  do sent = send(fd, data, length, FLAGS);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : (int32_t)sent;
}

#ifdef __linux__
typedef struct {
  int fd;
  unsigned *sq_head, *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
  struct io_uring_sqe *entries;
  struct io_uring_cqe *completions;
  void *sq_map, *cq_map;
  size_t sq_size, cq_size, entries_size;
} Ring;

static void ring_close(Ring *ring) {
  if (ring == NULL) return;
  if (ring->entries != NULL) munmap(ring->entries, ring->entries_size);
  if (ring->cq_map != NULL) munmap(ring->cq_map, ring->cq_size);
  if (ring->sq_map != NULL) munmap(ring->sq_map, ring->sq_size);
  close(ring->fd);
  free(ring);
}

static void *map(int fd, size_t size, off_t what) {
  void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
  return at == MAP_FAILED ? NULL : at;
}

/** NULL where the kernel has none, or does not let us have it. */
static Ring *ring_open(void) {
  struct io_uring_params params;
  memset(&params, 0, sizeof params);
  int fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &params);
  if (fd < 0) return NULL;
  Ring *ring = calloc(1, sizeof *ring);
  if (ring == NULL) {
    close(fd);
    return NULL;
  }
  ring->fd = fd;
  ring->sq_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  ring->cq_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  ring->entries_size = params.sq_entries * sizeof(struct io_uring_sqe);
  ring->sq_map = map(fd, ring->sq_size, IORING_OFF_SQ_RING);
  ring->cq_map = map(fd, ring->cq_size, IORING_OFF_CQ_RING);
  ring->entries = map(fd, ring->entries_size, IORING_OFF_SQES);
  if (ring->sq_map == NULL || ring->cq_map == NULL || ring->entries == NULL || params.sq_entries < ENTRIES) {
    ring_close(ring);
    return NULL;
  }
  uint8_t *sq = ring->sq_map, *cq = ring->cq_map;
  ring->sq_head = (unsigned *)(sq + params.sq_off.head);
  ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
  ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
  ring->sq_array = (unsigned *)(sq + params.sq_off.array);
  ring->cq_head = (unsigned *)(cq + params.cq_off.head);
  ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
  ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
  ring->completions = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
  return ring;
}

/** How many of the sends that wait for it have been done. */
static unsigned ring_reap(Ring *ring, int32_t *taken) {
  unsigned head = *ring->cq_head, tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE), reaped = 0;
  for (; head != tail; head++, reaped++) {
    const struct io_uring_cqe *done = &ring->completions[head & *ring->cq_mask];
    taken[done->user_data] = done->res;
  }
  __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
  return reaped;
}

/** At most ENTRIES sends. Comes back when none of them is under way any more; false where nobody can tell. */
static bool ring_send(Ring *ring, const int32_t *fds, unsigned count, const uint8_t *data, size_t length, int32_t *taken) {
  unsigned tail = *ring->sq_tail, submitted = 0, reaped = 0;
  for (unsigned k = 0; k < count; k++, tail++) {
    unsigned at = tail & *ring->sq_mask;
    struct io_uring_sqe *entry = &ring->entries[at];
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_SEND;
    entry->fd = fds[k];
    entry->addr = (uintptr_t)data;
    entry->len = (uint32_t)length;
    entry->msg_flags = FLAGS;
    entry->user_data = k;
    ring->sq_array[at] = at;
  }
  __atomic_store_n(ring->sq_tail, tail, __ATOMIC_RELEASE);
  while (submitted < count) {
    long entered = syscall(__NR_io_uring_enter, ring->fd, count - submitted, 0, 0, NULL, 0);
    if (entered > 0) submitted += (unsigned)entered;
    else if (entered == 0 || errno != EINTR) break;
  }
  // What the kernel would not have is taken back, and sent the plain way.
  if (submitted < count) __atomic_store_n(ring->sq_tail, tail - (count - submitted), __ATOMIC_RELEASE);
  for (unsigned k = submitted; k < count; k++) taken[k] = send_one(fds[k], data, length);
  while (reaped < submitted) {
    unsigned now = ring_reap(ring, taken);
    reaped += now;
    if (now > 0) continue;
    long entered = syscall(__NR_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    if (entered >= 0 || errno == EINTR || errno == EAGAIN || errno == EBUSY) continue;
    // Nobody will ever know what of those went out.
    return false;
  }
  for (unsigned k = 0; k < count; k++) if (taken[k] == -EINTR) taken[k] = send_one(fds[k], data, length);
  return true;
}
#else
typedef struct Ring Ring;
static Ring *ring_open(void) { return NULL; }
static void ring_close(Ring *ring) { (void)ring; }
static bool ring_send(Ring *ring, const int32_t *fds, unsigned count, const uint8_t *data, size_t length, int32_t *taken) {
  (void)ring;
  for (unsigned k = 0; k < count; k++) taken[k] = send_one(fds[k], data, length);
  return true;
}
#endif

/** Of one environment: worker threads have their own. */
typedef struct { Ring *ring; } State;

/** False where nobody knows what went out. */
static bool send_all(Ring *ring, const int32_t *fds, size_t count, const uint8_t *data, size_t length, int32_t *taken) {
  for (size_t k = 0; k < count; k += ENTRIES) {
    unsigned slice = count - k < ENTRIES ? (unsigned)(count - k) : ENTRIES;
    // A few enter the kernel sooner by themselves.
    if (ring == NULL || slice < 5) {
      for (unsigned i = 0; i < slice; i++) taken[k + i] = send_one(fds[k + i], data, length);
    } else if (!ring_send(ring, fds + k, slice, data, length, taken + k)) return false;
  }
  return true;
}

static bool view(napi_env env, napi_value value, napi_typedarray_type wanted, void **data, size_t *length) {
  napi_typedarray_type type;
  bool is = false;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is) return false;
  return napi_get_typedarray_info(env, value, &type, length, data, NULL, NULL) == napi_ok && type == wanted;
}

/** send(fds: Int32Array, count: number, data: Uint8Array, taken: Int32Array): boolean */
static napi_value Send(napi_env env, napi_callback_info info) {
  size_t argc = 4, fds_length, length, taken_length;
  napi_value argv[4], result;
  void *fds, *data, *taken;
  uint32_t count;
  State *state;
  if (napi_get_cb_info(env, info, &argc, argv, NULL, (void **)&state) != napi_ok || argc < 4 ||
      !view(env, argv[0], napi_int32_array, &fds, &fds_length) || napi_get_value_uint32(env, argv[1], &count) != napi_ok ||
      !view(env, argv[2], napi_uint8_array, &data, &length) || !view(env, argv[3], napi_int32_array, &taken, &taken_length) ||
      count > fds_length || count > taken_length || length == 0 || length > INT32_MAX) {
    napi_throw_type_error(env, NULL, "send(fds: Int32Array, count, data: Uint8Array, taken: Int32Array)");
    return NULL;
  }
  if (!send_all(state->ring, fds, count, data, length, taken)) {
    napi_throw_error(env, NULL, "io_uring broke down in the middle of a write");
    return NULL;
  }
  bool all = true;
  for (uint32_t k = 0; k < count && all; k++) all = ((int32_t *)taken)[k] == (int32_t)length;
  napi_get_boolean(env, all, &result);
  return result;
}

/** Whether what goes in comes out, by the way that was chosen, and a full socket and a wrong one are told apart. */
static bool works(Ring *ring) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return false;
  int32_t fds[6] = {pair[0], pair[0], pair[0], pair[0], pair[0], -1}, taken[6] = {0};
  uint8_t data[3] = {1, 2, 3}, back[16];
  bool good = send_all(ring, fds, 6, data, 3, taken) && recv(pair[1], back, sizeof back, MSG_DONTWAIT) == 15 && memcmp(back + 12, data, 3) == 0 && taken[5] == -EBADF;
  for (int k = 0; k < 5; k++) good = good && taken[k] == 3;
  static uint8_t much[1 << 20];
  for (int k = 0; k < 5; k++) fds[k] = pair[0];
  fds[5] = pair[0];
  for (int k = 0; good && k < 8; k++) good = send_all(ring, fds, 6, much, sizeof much, taken);
  good = good && taken[5] == -EAGAIN;
  close(pair[0]);
  close(pair[1]);
  return good;
}

static void finish(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  ring_close(((State *)data)->ring);
  free(data);
}

/** open(uring: boolean): { backend: 'io_uring' | 'send', send } | null */
static napi_value Open(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argv[1], result, function, name;
  bool uring = false;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (argc > 0) napi_get_value_bool(env, argv[0], &uring);
  napi_get_null(env, &result);
  State *state = calloc(1, sizeof *state);
  if (state == NULL) return result;
  state->ring = uring ? ring_open() : NULL;
  if (state->ring != NULL && !works(state->ring)) {
    ring_close(state->ring);
    state->ring = NULL;
  }
  if ((uring && state->ring == NULL) || !works(state->ring)) {
    finish(env, state, NULL);
    return result;
  }
  napi_create_object(env, &result);
  napi_create_string_utf8(env, uring ? "io_uring" : "send", NAPI_AUTO_LENGTH, &name);
  napi_set_named_property(env, result, "backend", name);
  napi_create_function(env, "send", NAPI_AUTO_LENGTH, Send, state, &function);
  napi_set_named_property(env, result, "send", function);
  napi_add_finalizer(env, function, state, finish, NULL, NULL);
  return result;
}

NAPI_MODULE_INIT() {
  napi_value function;
  napi_create_function(env, "open", NAPI_AUTO_LENGTH, Open, NULL, &function);
  napi_set_named_property(env, exports, "open", function);
  return exports;
}
