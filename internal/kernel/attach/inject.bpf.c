//go:build ignore

/* Writes the traceparent of client spans into requests that a Go program sends. This is
 * the only object that changes memory of others; it stands alone so that
 * attach loads where kernels refuse that, and it shares attach's maps.
 *
 * Where a request is handed to what will write it, the client span is noted under
 * something that the writer has, too. There, on another goroutine, the text goes
 * behind what a buffer holds, and then one word, the buffer's length, makes it part of
 * the request. Whatever stops before that word leaves the request as it was. All that is
 * read before it has to look as net/http and gRPC make it, or nothing is written and the
 * reason is counted. */
#include "origin.h"
#include "abi.h"

char LICENSE[] SEC("license") = "GPL";

/* What became of requests; names are in inject.go. */
enum { WRITTEN, HAS_ONE, NO_ROOM, MANY_HEADERS, UNEXPECTED, SPLIT, UNWRITABLE, SPARED, RESULTS };

/* Where fields are, by process. NONE: this program does not have it. */
struct places {
	__u16 conn_writer, call_request, request_header;
	__u16 writer_err, writer_buf, writer_n, writer_to;
	__u16 h2_header, h2_id, h2_buf;  /* net/http's own HTTP/2 */
	__u16 xh2_id, xh2_buf;           /* golang.org/x/net/http2, also of gRPC */
	__u16 rpc_fields;
	__u16 swiss; /* see struct offsets */
};
struct places *unused_places __attribute__((unused));

/* By what a writer recognises a request: kind of a gkey. */
enum { BY_WRITER = 1, BY_REQUEST, BY_FIELDS, BY_GOROUTINE };

struct target {
	__u8 trace[16];
	__u64 span;
	__u64 conn, table; /* what the writer writes to */
	__u64 header;      /* the map of the request's headers */
	__u64 count;       /* of fields */
	__u32 stream, pad;
};

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, MAX_SLOTS); __type(key, __u32); __type(value, struct places); } inject_slots SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 8192); __type(key, struct gkey); __type(value, struct target); } targets SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, RESULTS); __type(key, __u32); __type(value, __u64); } results SEC(".maps");

/* Hosts that get a header and hosts to spare, by patterns (hosts.go): the end of a name, written
 * backwards, or the beginning of an address; whole ones end in a zero. The longest that fits
 * decides, and where none does, otherwise; it is 0 if there are no patterns. */
#define PATTERN_WORDS 12
enum { WRITE = 1, SPARE = 2 };
enum { NAME = 1, ADDRESS = 2 };
struct pattern { __u32 bits, kind; __u64 text[PATTERN_WORDS]; };
struct pattern *unused_pattern __attribute__((unused));
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 1); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, struct pattern); __type(value, __u8); } hosts SEC(".maps");
volatile const __u8 otherwise;

/* Whether a request to this host, which may end in a port, gets no header. Eight bytes at a time,
 * for a loop over bytes would be too long for the verifier. */
__noinline int is_spared(__u64 at, __u64 len)
{
	struct pattern p = { .kind = NAME };
	__u64 last = 0, end, letters = 0;
	__u32 port = 0;
	if (!len || len > 0xffff)
		return true;
	if (len >= 8) {
		if (bpf_probe_read_user(&last, 8, (void *)(at + len - 8)))
			return true;
	} else {
		if (bpf_probe_read_user(&last, len & 7, (void *)at))
			return true;
		last <<= 64 - 8 * len;
	}
	end = last;
#pragma unroll
	for (int i = 1; i <= 6; i++) {
		__u8 c = end >> 56;
		end <<= 8;
		if (c == ':')
			port = i;
		if (c < '0' || c > '9')
			break;
	}
	__u64 n = len - port;
	if ((port ? end : last) >> 56 == '.' && n > 1)
		n--; /* the root of all names */
	__u64 left = n;
	for (int i = 0; i < PATTERN_WORDS; i++) {
		__u64 w = 0;
		if (left >= 8) {
			left -= 8;
			if (bpf_probe_read_user(&w, 8, (void *)(at + left)))
				return true;
			w |= 0x2020202020202020ULL; /* in lower case */
		} else if (left) {
			if (bpf_probe_read_user(&w, left & 7, (void *)at))
				return true;
			w = (w | 0x2020202020202020ULL) << (64 - 8 * left);
			left = 0;
		} else {
			break;
		}
		letters |= w;
		p.text[i] = __builtin_bswap64(w);
	}
	p.bits = 32 + 8 * (n < sizeof(p.text) ? n + 1 : sizeof(p.text));
	if (!(letters & 0x4040404040404040ULL) && n < 16) {
		p.kind = ADDRESS;
		if (bpf_probe_read_user(p.text, n & 15, (void *)at))
			return true;
	}
	__u8 *verdict = bpf_map_lookup_elem(&hosts, &p);
	return (verdict ? *verdict : otherwise) == SPARE;
}

static __always_inline int tell(__u32 result)
{
	__u64 *n = bpf_map_lookup_elem(&results, &result);
	if (n)
		*n += 1;
	return 0;
}

static __always_inline struct places *places_of(void *ctx, __u32 *slot)
{
	*slot = (__u32)bpf_get_attach_cookie(ctx);
	return bpf_map_lookup_elem(&inject_slots, slot);
}

/* The client span that this goroutine waits for. Calls that are told nothing of
 * (beyond a trace's bound) have none. */
static __always_inline struct span *waiting_for(struct pt_regs *ctx, __u32 slot, __u32 kind)
{
	struct gkey k = { .g = G(ctx), .slot = slot };
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!c || !c->depth || (c->over && c->depth >= MAX_DEPTH))
		return 0;
	k.kind = c->depth;
	struct span *s = bpf_map_lookup_elem(&calls, &k);
	return s && s->kind == kind && s->id ? s : 0;
}

/* The same, unless its host is to be spared. */
static __always_inline struct span *meant(struct span *s)
{
	if (!s || !otherwise || !is_spared(s->extra, s->host_size))
		return s;
	tell(SPARED);
	return 0;
}

/* Notes t for s, or forgets what was noted under this key before. */
static __always_inline void note(struct gkey *k, struct target *t, struct span *s)
{
	if (!k->g)
		return;
	if (!s) {
		bpf_map_delete_elem(&targets, k);
		return;
	}
	__builtin_memcpy(t->trace, s->trace, 16);
	t->span = s->id;
	bpf_map_update_elem(&targets, k, t, BPF_ANY);
}

static __always_inline bool take(struct gkey *k, struct target *t)
{
	struct target *found = k->g ? bpf_map_lookup_elem(&targets, k) : 0;
	if (!found)
		return false;
	*t = *found;
	bpf_map_delete_elem(&targets, k);
	return true;
}

/* Whether a name is traceparent, in any case; 2: cannot be read. */
static __always_inline int named_so(__u64 at, __u64 len)
{
	__u64 name[2] = {};
	if (len != 11)
		return 0;
	if (bpf_probe_read_user(name, 11, (void *)at))
		return 2;
	return (name[0] | 0x2020202020202020ULL) == 0x7261706563617274ULL && (name[1] | 0x202020ULL) == 0x746e65ULL;
}

__noinline int in_group(__u64 group)
{
	__u64 w[18] = {}, full;
	int any = 0;
	if (bpf_probe_read_user(w, sizeof(w), (void *)group))
		return 2;
	full = ~w[0] & 0x8080808080808080ULL; /* a set bit says that a slot is empty */
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 7) & 1)
			any |= named_so(w[1 + 5 * i], w[2 + 5 * i]);
	if (!(full >> 32))
		return any;
	if (bpf_probe_read_user(w, sizeof(w), (void *)(group + 4 * SWISS_STRIDE)))
		return 2;
	for (int i = 0; i < 4; i++)
		if (full >> (8 * i + 39) & 1)
			any |= named_so(w[1 + 5 * i], w[2 + 5 * i]);
	return any;
}

__noinline int in_bucket(__u64 bucket)
{
	__u8 top[8] = {};
	struct str keys[8] = {};
	int any = 0;
	if (bpf_probe_read_user(top, sizeof(top), (void *)bucket) || bpf_probe_read_user(keys, sizeof(keys), (void *)(bucket + 8)))
		return 2;
	for (int i = 0; i < 8; i++)
		if (top[i] >= 5)
			any |= named_so(keys[i].at, keys[i].len);
	return any;
}

/* Whether a map of headers has a traceparent: unlike header_find, this looks at all keys,
 * or says that it cannot (2). */
__noinline int has_traceparent(__u64 map, __u32 swiss)
{
	int any = 0;
	if (!map)
		return 0;
	if (swiss == 1) {
		struct { __u64 used, seed, dir, len; } m = {};
		struct { __u64 data, mask; } g = {};
		if (bpf_probe_read_user(&m, sizeof(m), (void *)map))
			return 2;
		if (!m.used)
			return 0;
		if (!m.len)
			return in_group(m.dir);
		__u64 table = word(m.dir, 0);
		if (m.len != 1 || !table || bpf_probe_read_user(&g, sizeof(g), (void *)(table + 16)) || g.mask >= MAX_GROUPS)
			return 2;
		for (int i = 0; i < MAX_GROUPS && i <= g.mask && !any; i++)
			any = in_group(g.data + SWISS_GROUP * i);
		return any;
	}
	if (swiss == 0) {
		struct { __u64 count; __u8 flags, b; __u16 overflow; __u32 hash; __u64 buckets, old; } m = {};
		if (bpf_probe_read_user(&m, sizeof(m), (void *)map))
			return 2;
		if (!m.count)
			return 0;
		if (m.b > 4 || m.old)
			return 2;
		__u64 bucket = m.buckets, end = bucket + ((__u64)BUCKET << (m.b & 7)), at = bucket, next = 0;
		for (int i = 0; i < MAX_BUCKETS && at && !any; i++) {
			any = in_bucket(at);
			if (bpf_probe_read_user(&next, sizeof(next), (void *)(at + BUCKET - 8)))
				return 2;
			at = next;
			if (!at) {
				bucket += BUCKET;
				at = bucket < end ? bucket : 0;
			}
		}
		return any ? any : at ? 2 : 0;
	}
	return 2;
}

static __always_inline __u8 digit(__u8 n)
{
	return n + '0' + ((n + 6) >> 4) * ('a' - '0' - 10);
}

#define VALUE 55 /* 00-<trace>-<span>-01 */

static __always_inline void write_value(__u8 *to, struct target *t)
{
	__u8 *span = (__u8 *)&t->span;
	to[0] = to[1] = '0';
	to[2] = to[35] = to[52] = '-';
	to[53] = '0';
	to[54] = '1';
	for (int i = 0; i < 16; i++) {
		to[3 + 2 * i] = digit(t->trace[i] >> 4);
		to[4 + 2 * i] = digit(t->trace[i] & 15);
	}
	for (int i = 0; i < 8; i++) {
		to[36 + 2 * i] = digit(span[i] >> 4);
		to[37 + 2 * i] = digit(span[i] & 15);
	}
}

struct slice { __u64 at, len, cap; };

/* Whether a buffer ends in what we would write, up to the value: another who is attached has. */
static __always_inline bool written(__u64 end, const void *line, __u32 size, __u32 name)
{
	__u64 ours[2] = {}, there[2] = {};
	__builtin_memcpy(ours, line, name);
	return bpf_probe_read_user(there, name, (void *)(end - size)) == 0 && there[0] == ours[0] && there[1] == ours[1];
}

/* Larger than any buffer for headers. */
#define MAX_BUFFER (1 << 24)

/* HTTP/1. (*persistConn).roundTrip(*transportRequest): the request goes to the connection's
 * own goroutine now. A connection has one request at a time. */
SEC("uprobe.multi/")
int inject_conn(struct pt_regs *ctx)
{
	struct gkey k = { .kind = BY_WRITER };
	struct places *o = places_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct target t = { .conn = ARG0(ctx) };
	struct { __u64 table, data; } to = {};
	k.g = word(t.conn, o->conn_writer);
	t.header = word(word(ARG1(ctx), o->call_request), o->request_header);
	struct span *s = meant(waiting_for(ctx, k.slot, HTTP_CLIENT));
	if (s && (bpf_probe_read_user(&to, sizeof(to), (void *)(k.g + o->writer_to)) || !to.table || to.data != t.conn)) {
		tell(UNEXPECTED);
		s = 0;
	}
	int has = s ? has_traceparent(t.header, o->swiss) : 0;
	if (has) {
		tell(has == 1 ? HAS_ONE : MANY_HEADERS);
		s = 0;
	}
	t.table = to.table;
	note(&k, &t, s);
	return 0;
}

/* In (*Request).write, the call of Header.writeSubset(io.Writer, …): the request's first line
 * and some headers are in the buffer, and nothing of it is in registers. */
#define LINE (13 + VALUE + 2)

SEC("uprobe.multi/")
int inject_line(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG2(ctx), .kind = BY_WRITER };
	struct places *o = places_of(ctx, &k.slot);
	struct target t;
	if (!o || !take(&k, &t))
		return 0;
	struct slice buf = {};
	struct { __u64 table, data; } to = {};
	__u64 err = 1, n = 0;
	__u8 end[2] = {}, line[72] = "Traceparent: ";
	if (bpf_probe_read_user(&buf, sizeof(buf), (void *)(k.g + o->writer_buf)) || bpf_probe_read_user(&to, sizeof(to), (void *)(k.g + o->writer_to)) ||
	    bpf_probe_read_user(&err, sizeof(err), (void *)(k.g + o->writer_err)) || bpf_probe_read_user(&n, sizeof(n), (void *)(k.g + o->writer_n)))
		return tell(UNEXPECTED);
	if (ARG0(ctx) != t.header || to.table != t.table || to.data != t.conn || err || !buf.at || buf.len != buf.cap || buf.len > MAX_BUFFER || n > buf.len || n < 2)
		return tell(UNEXPECTED);
	if (bpf_probe_read_user(end, 2, (void *)(buf.at + n - 2)) || end[0] != '\r' || end[1] != '\n')
		return tell(UNEXPECTED);
	if (n >= LINE && written(buf.at + n, line, LINE, 13))
		return tell(HAS_ONE);
	if (buf.len - n < LINE)
		return tell(NO_ROOM);
	write_value(line + 13, &t);
	line[13 + VALUE] = '\r';
	line[13 + VALUE + 1] = '\n';
	if (bpf_probe_write_user((void *)(buf.at + n), line, LINE))
		return tell(UNWRITABLE);
	n += LINE;
	if (bpf_probe_write_user((void *)(k.g + o->writer_n), &n, sizeof(n)))
		return tell(UNWRITABLE);
	return tell(WRITTEN);
}

/* HTTP/2. (*ClientConn).roundTrip(*Request): another goroutine will write it. */
static __always_inline int h2_call(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG1(ctx), .kind = BY_REQUEST };
	struct target t = {};
	if (places_of(ctx, &k.slot))
		note(&k, &t, meant(waiting_for(ctx, k.slot, HTTP_CLIENT)));
	return 0;
}

SEC("uprobe.multi/")
int inject_h2_call(struct pt_regs *ctx) { return h2_call(ctx); }

/* (*clientStream).encodeAndWriteHeaders(*Request), on that goroutine. */
static __always_inline int h2_headers(struct pt_regs *ctx, bool x)
{
	struct gkey k = { .g = ARG1(ctx), .kind = BY_REQUEST };
	struct places *o = places_of(ctx, &k.slot);
	struct target t;
	if (!o || !take(&k, &t))
		return 0;
	int has = has_traceparent(word(ARG1(ctx), x ? o->request_header : o->h2_header), o->swiss);
	if (has)
		return tell(has == 1 ? HAS_ONE : MANY_HEADERS);
	if (bpf_probe_read_user(&t.stream, sizeof(t.stream), (void *)(ARG0(ctx) + (x ? o->xh2_id : o->h2_id))) || !t.stream)
		return tell(UNEXPECTED);
	k.g = G(ctx);
	k.kind = BY_GOROUTINE;
	bpf_map_update_elem(&targets, &k, &t, BPF_ANY);
	return 0;
}

SEC("uprobe.multi/")
int inject_h2_headers(struct pt_regs *ctx) { return h2_headers(ctx, false); }

SEC("uprobe.multi/")
int inject_xh2_headers(struct pt_regs *ctx) { return h2_headers(ctx, true); }

/* gRPC. In (*http2Client).NewStream, the call of (*controlBuffer).executeAndPut(f, item): the item
 * has the fields of the header, and another goroutine will write them. */
SEC("uprobe.multi/")
int inject_rpc(struct pt_regs *ctx)
{
	struct gkey k = { .kind = BY_FIELDS };
	struct places *o = places_of(ctx, &k.slot);
	struct slice fields = {};
	if (!o || bpf_probe_read_user(&fields, sizeof(fields), (void *)(ARG3(ctx) + o->rpc_fields)))
		return 0;
	struct target t = { .count = fields.len };
	k.g = fields.at;
	note(&k, &t, waiting_for(ctx, k.slot, GRPC_CLIENT));
	return 0;
}

#define HEADER_FIELD 40 /* two strings and a bool */
#define MAX_FIELDS 64
#define AUTHORITY 3 /* behind method, scheme and path */

/* (*loopyWriter).writeHeader(stream, end, fields, …), on that goroutine. */
SEC("uprobe.multi/")
int inject_rpc_headers(struct pt_regs *ctx)
{
	struct gkey k = { .g = ARG3(ctx), .kind = BY_FIELDS };
	struct places *o = places_of(ctx, &k.slot);
	struct target t;
	struct str name = {};
	__u64 first = 0, n = ARG4(ctx);
	if (!o || !take(&k, &t))
		return 0;
	if (n != t.count || !n || bpf_probe_read_user(&name, sizeof(name), (void *)k.g) || name.len != 7 ||
	    bpf_probe_read_user(&first, 7, (void *)name.at) || first != 0x646f6874656d3aULL) /* :method */
		return tell(UNEXPECTED);
	if (otherwise) {
		struct { struct str name, value; } f = {};
		__u64 start = 0;
		if (n <= AUTHORITY || bpf_probe_read_user(&f, sizeof(f), (void *)(k.g + HEADER_FIELD * AUTHORITY)) || f.name.len != 10 ||
		    bpf_probe_read_user(&start, 8, (void *)f.name.at) || start != 0x69726f687475613aULL) /* :authori */
			return tell(UNEXPECTED);
		if (is_spared(f.value.at, f.value.len))
			return tell(SPARED);
	}
	if (n > MAX_FIELDS)
		return tell(MANY_HEADERS);
	int has = 0;
	for (int i = 1; i < MAX_FIELDS && i < n && !has; i++) {
		if (bpf_probe_read_user(&name, sizeof(name), (void *)(k.g + HEADER_FIELD * i)))
			return tell(UNEXPECTED);
		has = named_so(name.at, name.len);
	}
	if (has)
		return tell(has == 1 ? HAS_ONE : UNEXPECTED);
	t.stream = (__u32)ARG1(ctx);
	k.g = G(ctx);
	k.kind = BY_GOROUTINE;
	bpf_map_update_elem(&targets, &k, &t, BPF_ANY);
	return 0;
}

/* In (*Framer).WriteHeaders, the call of endWrite: the frame is complete but for its length,
 * which endWrite takes from the buffer. What comes behind all other fields is one more of
 * them: a name and a value that no table shall remember. */
#define FIELD_LEN (3 + 11 + VALUE)
#define FRAME_HEADER 9
#define MAX_FRAME 16384 /* what every peer has to take */
enum { FRAME_HEADERS = 1, END_HEADERS = 4, PADDED = 8 };

static __always_inline int h2_frame(struct pt_regs *ctx, __u16 at)
{
	struct gkey k = { .g = G(ctx), .kind = BY_GOROUTINE };
	k.slot = (__u32)bpf_get_attach_cookie(ctx);
	struct target t;
	if (at == NONE || !take(&k, &t))
		return 0;
	struct slice buf = {};
	__u8 h[FRAME_HEADER] = {};
	__u8 field[72] = "\0\013traceparent";
	__u64 to = ARG0(ctx) + at;
	if (bpf_probe_read_user(&buf, sizeof(buf), (void *)to) || !buf.at || buf.len <= FRAME_HEADER || buf.len > buf.cap || buf.cap > MAX_BUFFER ||
	    bpf_probe_read_user(h, sizeof(h), (void *)buf.at))
		return tell(UNEXPECTED);
	__u32 stream = (__u32)h[5] << 24 | (__u32)h[6] << 16 | (__u32)h[7] << 8 | h[8];
	if (h[0] | h[1] | h[2] || h[3] != FRAME_HEADERS || stream != t.stream)
		return tell(UNEXPECTED);
	if (!(h[4] & END_HEADERS) || h[4] & PADDED || buf.len - FRAME_HEADER + FIELD_LEN > MAX_FRAME)
		return tell(SPLIT);
	if (buf.len >= FRAME_HEADER + FIELD_LEN && written(buf.at + buf.len, field, FIELD_LEN, 13))
		return tell(HAS_ONE);
	if (buf.cap - buf.len < FIELD_LEN)
		return tell(NO_ROOM);
	field[13] = VALUE;
	write_value(field + 14, &t);
	if (bpf_probe_write_user((void *)(buf.at + buf.len), field, FIELD_LEN))
		return tell(UNWRITABLE);
	buf.len += FIELD_LEN;
	if (bpf_probe_write_user((void *)(to + 8), &buf.len, sizeof(buf.len)))
		return tell(UNWRITABLE);
	return tell(WRITTEN);
}

SEC("uprobe.multi/")
int inject_h2_frame(struct pt_regs *ctx)
{
	__u32 slot;
	struct places *o = places_of(ctx, &slot);
	return o ? h2_frame(ctx, o->h2_buf) : 0;
}

SEC("uprobe.multi/")
int inject_xh2_frame(struct pt_regs *ctx)
{
	__u32 slot;
	struct places *o = places_of(ctx, &slot);
	return o ? h2_frame(ctx, o->xh2_buf) : 0;
}
