/* What is known of goroutines, calls and processes, and how Go's memory is read. */
#pragma once

#include "../bpf/core.h"

enum {
	HTTP_SERVER = 1, HTTP_CLIENT, GRPC_SERVER, GRPC_CLIENT, SQL, REDIS,
};
/* In calls: how deep the call is nested on its goroutine, from 1; or this, with a
 * client stream's address in place of the goroutine's. */
#define MAX_DEPTH 8
#define STREAM 0x100
enum { /* flags of a span */
	TRUNCATED = 1,  /* some text did not fit */
	ABORTED = 2,    /* the handler panicked */
	HIJACKED = 4,   /* the handler took the connection; the span ends there */
	REMOTE = 8,     /* the parent came with a traceparent header */
	CORRELATED = 16, /* the parent was found by the connection */
	HTTP2 = 32,
	TLS = 64,
	LINE = 128, /* text is the request's first line, its method first, up to its version */
	ALONE = 1 << 16, /* has no parent, and none of what hangs on it is told */
};
enum { LOSS_BOUND = 3, LOSS_NO_START = 4, LOSS_ABANDONED = 5 };

#define MAX_SLOTS 256
#define NONE 0xffff

volatile const __u32 spans_per_trace = 1000;
/* Some attached process sends requests. */
__u32 correlating;
volatile const __u64 inherit_ns = 300000000000ULL;

/* Where fields are, by process. NONE: this program does not have it. */
struct offsets {
	__u16 g_goid, g_m, m_curg;
	__u16 request_method, request_url, request_header, request_host, request_proto, request_uri, request_pattern, request_pat, pattern_str;
	__u16 url_scheme, url_host, url_path;
	__u16 http_response_status;           /* of the client's Response */
	__u16 response_status, response_conn; /* of the server's response */
	__u16 conn_rwc, conn_tls;
	__u16 pconn_conn, pconn_tls;
	__u16 tls_conn, tcp_fd, fd_laddr, fd_raddr, addr_ip, addr_port;
	/* net/http's own HTTP/2; golang.org/x/net/http2 has the same, behind */
	__u16 h2_rws, h2_status, h2_stream, h2_id, h2_sc, h2_conn, h2_tls, h2_sent_id, h2_cc, h2_client, h2_client_tls;
	__u16 xh2_rws, xh2_status, xh2_stream, xh2_id, xh2_sc, xh2_conn, xh2_tls, xh2_sent_id, xh2_cc, xh2_client, xh2_client_tls;
	__u16 gin_writer, gin_path;
	__u16 db_connector, stmt_query, stmt_db, tx_db, tx_done;
	__u16 redis_args, redis_opt, redis_addr;
	__u16 gs_method, gs_id, frame_fields, frame_stream;
	__u16 gs_conn, gc_conn, gc_stream;
	__u16 gs_stream, cs_attempt, attempt_stream, attempt_transport, frame_headers, error_s, status_s, status_code, cc_target;
	__u16 g_gopc, g_ctxt;  /* g_ctxt: requests begin with the goroutine that waits for the client */
	__u16 reader_conn, conn_request, response_request;
	__u8 swiss; /* maps: 1 since Go 1.24, 0 before, 2 unknown */
	__u8 pad;
	__u32 netns;
	/* net/http's (*connReader).startBackgroundRead, from where goroutine_made stands; size 0: not known */
	__s32 reader;
	__u32 reader_size;
};

struct gkey { __u64 g; __u32 slot; __u32 kind; };

/* What was sent on a connection: the client's end of it and, of gRPC, the number
 * of the stream. Loopback addresses count within their network namespace. */
struct flow { __u8 ip[16]; __u32 netns; __u32 port; __u32 stream, pad; };
struct origin { __u8 trace[16]; __u64 span; };

/* What a goroutine works for. */
struct context {
	__u8 trace[16];
	__u64 span; /* of the work at hand, parent of what comes; 0: none */
	__u64 root; /* the first span of this trace here; bounds its size */
	__u64 born; /* when it was handed down from another goroutine, or 0 */
	/* the request that is served on this goroutine */
	__u64 start, id, parent, request, writer;
	__u32 kind, flags, secure;
	__u16 depth, over; /* open calls: those in calls, and those beyond MAX_DEPTH */
	__u64 conn; /* for which peer was found out; 0: not yet */
	__u64 goroutine; /* its number, as of then */
	__u64 random;
	__u64 gin; /* *gin.Context of the request */
	struct flow peer;
};

#define METHOD 16
#define HOST 64
#define ROUTE 96
#define TEXT 256
#define BRIEF_METHOD 8
#define BRIEF_HOST 40
#define BRIEF_ROUTE 48
#define BRIEF_TEXT 48

struct span {
	__u64 start, end;
	__u8 trace[16];
	__u64 id, parent;
	__u64 goroutine;
	__u64 error; /* address of the interface table of the error's type, 0: no error */
	__u64 extra; /* SQL: the same of the connector; Redis: how many commands; HTTP: where all of the host is */
	__u64 extra2; /* SQL: the same of the driver, if the connector is database/sql's own; gRPC: the stream */
	__u64 root;
	__u64 saved; /* what the goroutine's span was before */
	__u64 object; /* what the call is about: tells a call from one within it */
	__u32 slot, kind, flags;
	__s32 status;
	__u32 peer_port;
	__u16 method_len, host_len, route_len, text_len;
	__u8 peer_ip[16];
	struct flow flow;
	__u32 host_size; /* HTTP: of all of it */
	__u8 method[METHOD];
	__u8 host[HOST];
	__u8 route[ROUTE];
	__u8 text[TEXT];
};
/* A server's span whose texts are short, as most are: a ring is memory that no cache
 * holds, and what is not written there costs nothing. User space tells the two by
 * their length. */
struct brief {
	__u64 start, end;
	__u8 trace[16];
	__u64 id, parent;
	__u64 goroutine;
	__u32 slot, kind, flags;
	__s32 status;
	__u32 peer_port;
	__u16 method_len, host_len, route_len, text_len;
	__u8 peer_ip[16];
	__u8 method[BRIEF_METHOD];
	__u8 host[BRIEF_HOST];
	__u8 route[BRIEF_ROUTE];
	__u8 text[BRIEF_TEXT];
	__u32 pad;
};
struct brief *unused_brief __attribute__((unused));
struct span *unused_span __attribute__((unused));
struct offsets *unused_offsets __attribute__((unused));

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, MAX_SLOTS); __type(key, __u32); __type(value, struct offsets); } slots SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 32768); __type(key, struct gkey); __type(value, struct context); } goroutines SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct gkey); __type(value, struct span); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u64); __type(value, __u32); } budgets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, struct flow); __type(value, struct origin); } flows SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct gkey); __type(value, struct origin); } streams SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, struct gkey); __type(value, struct flow); } transports SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct span); } blank SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 22); } events SEC(".maps");
DECLARE_LOSSES

static __always_inline struct offsets *offsets_of(void *ctx, __u32 *slot)
{
	*slot = (__u32)bpf_get_attach_cookie(ctx);
	return bpf_map_lookup_elem(&slots, slot);
}

static __always_inline __u64 word(__u64 at, __u16 off)
{
	__u64 v = 0;
	if (at && off != NONE)
		bpf_probe_read_user(&v, sizeof(v), (void *)(at + off));
	return v;
}

/* xorshift64*, sown once a goroutine: the kernel's own takes ten times as long. Never 0. */
static __always_inline __u64 random64(__u64 *state)
{
	__u64 x = *state;
	if (!x)
		x = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545F4914F6CDD1DULL;
}

struct str { __u64 at, len; };

/* A field of a structure whose first REQUEST bytes were copied to buf. */
#define REQUEST 256
#define FIELD(buf, off, type) (*(type *)((buf) + ((off) & (REQUEST - 8))))

/* READ_STRING reads a Go string into a field of a span. */
#define READ_STRING(sp, field, cap, place, off)                                                \
	do {                                                                                   \
		struct str s_ = {};                                                            \
		(sp)->field##_len = 0;                                                         \
		if ((off) != NONE && (place))                                                  \
			bpf_probe_read_user(&s_, sizeof(s_), (void *)((place) + (off)));       \
		READ_TEXT(sp, field, cap, s_.at, s_.len);                                      \
	} while (0)
#define READ_TEXT(sp, field, cap, where, length)                                               \
	do {                                                                                   \
		__u64 n_ = (length), at_ = (where);                                            \
		(sp)->field##_len = 0;                                                         \
		if (at_ && n_ && n_ < 1 << 24) {                                               \
			if (n_ > (cap)) {                                                      \
				n_ = (cap);                                                    \
				(sp)->flags |= TRUNCATED;                                      \
			}                                                                      \
			if (bpf_probe_read_user((sp)->field, n_, (void *)at_) == 0)            \
				(sp)->field##_len = n_;                                        \
		}                                                                              \
	} while (0)
