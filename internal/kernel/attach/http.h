/* net/http, HTTP/1 and HTTP/2. */
#pragma once

#include "work.h"

/* A request that goroutine k serves from now on. c is k's context, if it has one. */
static __always_inline int http_begin(struct gkey *k, struct offsets *o, struct context *c, __u64 writer, __u64 request, __u32 flags, bool x, bool bodiless)
{
	/* Major, minor, header stand side by side in all versions; where bodiless is asked for, so does
	 * the length. */
	struct { __u64 major, minor, header, body[2], get, length; } h = {};
	bpf_probe_read_user(&h, sizeof(h), (void *)(request + o->request_proto));
	if (bodiless && h.length)
		return 0;
	if (!c && !(c = context_for(k)))
		return 0;
	if (h.major == 2)
		flags |= HTTP2;
	if (c->start && c->kind == HTTP_SERVER && c->flags & HTTP2) {
		c->request = request; /* x/net/http2 hands to net/http */
		return 0;
	}
	if (c->start && c->writer == writer)
		return 0; /* the stack grew, and the function began again */
	struct origin p = {}, *parent = 0;
	struct str v = {};
	__u64 first = o->swiss == 2 || o->request_header != o->request_proto + 16 ? 0 : header_find(h.header, o->swiss);
	if (first && bpf_probe_read_user(&v, sizeof(v), (void *)first) == 0 && v.len >= 55 && parse_parent(v.at, &p)) {
		parent = &p;
		flags |= REMOTE;
	}
	if (!(flags & HTTP2) && o->response_conn != NONE) {
		if (!c->conn) {
			c->conn = word(writer, o->response_conn);
			c->goroutine = word(k->g, o->g_goid);
			__u64 tls = word(c->conn, o->conn_tls);
			__u64 rwc = c->conn ? word(c->conn + 8, o->conn_rwc) : 0;
			__builtin_memset(&c->peer, 0, sizeof(c->peer));
			read_flow(tcp_of(o, rwc, tls), k->slot, HTTP_SERVER, &c->peer);
			if (tls)
				c->secure = TLS;
		}
		flags |= c->secure;
	} else {
		__builtin_memset(&c->peer, 0, sizeof(c->peer));
		if (flags & HTTP2)
			read_stream(writer, k->slot, x, &c->peer);
		c->goroutine = word(k->g, o->g_goid);
	}
	if (!parent && correlating && c->peer.port) {
		parent = bpf_map_lookup_elem(&flows, &c->peer);
		if (parent) {
			p = *parent;
			parent = &p;
			flags |= CORRELATED;
		}
	}
	c->gin = 0;
	c->request = request;
	c->writer = writer;
	serve(c, parent, HTTP_SERVER, flags);
	return 0;
}

static __always_inline int http_start(struct pt_regs *ctx, __u64 writer, __u64 request, __u32 flags, bool x)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o ? http_begin(&k, o, 0, writer, request, flags, x, false) : 0;
}

/* net/http's server. serverHandler.ServeHTTP(ResponseWriter, *Request): of
 * HTTP/1 and of HTTP/2, each request once. */
SEC("uprobe.multi/")
int http_serve(struct pt_regs *ctx) { return http_start(ctx, ARG2(ctx), ARG3(ctx), 0, false); }

/* The same by what net/http does with each request of HTTP/1 before: it has
 * (*connReader).startBackgroundRead called, at once if the request has no body, else when that was
 * read. At at + off, or in at if off is 0, is its closure: {code, *connReader}; a known connection
 * is not asked for again. */
static __always_inline int http_awaited(struct gkey *k, struct offsets *o, __u64 at, __u16 off, bool bodiless)
{
	struct context *c = bpf_map_lookup_elem(&goroutines, k);
	__u64 conn = c ? c->conn : 0;
	if (!conn)
		conn = word(word(off ? word(at, off) : at, 8), o->reader_conn);
	__u64 writer = word(conn, o->conn_request);
	__u64 request = word(writer, o->response_request);
	return request ? http_begin(k, o, c, writer, request, 0, false, bodiless) : 0;
}

/* (*body).registerOnHitEOF(func()) */
SEC("uprobe.multi/")
int http_body(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o && ARG1(ctx) ? http_awaited(&k, o, ARG1(ctx), 0, false) : 0;
}

/* HTTP/2 of net/http: (*http2serverConn).runHandler(*http2responseWriter, *Request, …) */
SEC("uprobe.multi/")
int h2_serve(struct pt_regs *ctx) { return http_start(ctx, ARG1(ctx), ARG2(ctx), HTTP2, false); }

static __always_inline bool fits(struct str *s, __u64 room) { return s->at == 0 || s->len <= room; }

/* The texts of a server's span, of either length. Of HTTP/1 method and URI stand in the line that
 * came, one behind the other, and are read at one stroke; user space takes the path out of it. */
#define READ_TEXTS(s, m, h, r, t)                                                              \
	do {                                                                                   \
		READ_TEXT(s, host, h, host.at, host.len);                                      \
		READ_TEXT(s, route, r, route.at, route.len);                                   \
		if (line) {                                                                    \
			(s)->flags |= LINE;                                                    \
			READ_TEXT(s, text, BRIEF_TEXT, method.at, line);                       \
			(s)->method_len = method.len;                                          \
		} else {                                                                       \
			READ_TEXT(s, method, m, method.at, method.len);                        \
			READ_TEXT(s, text, t, path.at, path.len);                              \
		}                                                                              \
	} while (0)

static __always_inline int http_end(struct pt_regs *ctx, struct gkey *k, struct offsets *o, struct context *c, __s32 status, __u32 flags)
{
	struct str method = {}, host = {}, route = {}, path = {};
	__u64 line = 0;
	{
		/* The request at one stroke. */
		__u8 raw[REQUEST];
		if (bpf_probe_read_user(raw, REQUEST, (void *)c->request) == 0) {
			method = FIELD(raw, o->request_method, struct str);
			host = FIELD(raw, o->request_host, struct str);
			if (o->request_pattern != NONE)
				route = FIELD(raw, o->request_pattern, struct str);
			else if (o->request_pat != NONE) {
				__u64 pat = FIELD(raw, o->request_pat, __u64);
				if (pat)
					bpf_probe_read_user(&route, sizeof(route), (void *)(pat + o->pattern_str));
			}
			if (o->request_uri != NONE) {
				struct str uri = FIELD(raw, o->request_uri, struct str);
				if (uri.at == method.at + method.len + 1 && method.len < BRIEF_TEXT && uri.len < BRIEF_TEXT - method.len)
					line = method.len + 1 + uri.len;
			}
			__u64 url = FIELD(raw, o->request_url, __u64);
			if (url && !line)
				bpf_probe_read_user(&path, sizeof(path), (void *)(url + o->url_path));
		}
	}
	/* Contexts go back to a pool before; one that serves another request has another writer. */
	if (c->gin && word(c->gin + 8, o->gin_writer) == c->writer) {
		struct str full = {};
		if (bpf_probe_read_user(&full, sizeof(full), (void *)(c->gin + o->gin_path)) == 0 && full.len)
			route = full;
	}
	if (fits(&host, BRIEF_HOST) && fits(&route, BRIEF_ROUTE) && (line || (fits(&method, BRIEF_METHOD) && fits(&path, BRIEF_TEXT)))) {
		struct brief *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
		if (s) {
			BEGIN(s, c, k->slot);
			s->flags |= flags;
			s->status = status;
			READ_TEXTS(s, BRIEF_METHOD, BRIEF_HOST, BRIEF_ROUTE, BRIEF_TEXT);
			bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
		} else {
			lose(LOSS_RING);
		}
	} else {
		struct span *s = bpf_ringbuf_reserve(&events, sizeof(*s), 0);
		if (s) {
			begin(s, c, k->slot);
			s->flags |= flags;
			s->status = status;
			READ_TEXTS(s, METHOD, HOST, ROUTE, TEXT);
			bpf_ringbuf_submit(s, BPF_RB_NO_WAKEUP);
		} else {
			lose(LOSS_RING);
		}
	}
	served(c);
	return 0;
}

/* github.com/gin-gonic/gin: (*Engine).handleHTTPRequest(*Context) */
SEC("uprobe.multi/")
int gin_handle(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .slot = (__u32)bpf_get_attach_cookie(ctx) };
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (c && c->start)
		c->gin = ARG1(ctx);
	return 0;
}

/* (*response).finishRequest() */
SEC("uprobe.multi/")
int http_served(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o)
		return 0;
	if (!c || !c->start || c->writer != ARG0(ctx)) {
		lose(LOSS_NO_START);
		return 0;
	}
	return http_end(ctx, &k, o, c, word(ARG0(ctx), o->response_status), 0);
}

/* (*response).Hijack(): what comes after is no HTTP. */
SEC("uprobe.multi/")
int http_hijacked(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c || !c->start || c->writer != ARG0(ctx))
		return 0;
	return http_end(ctx, &k, o, c, word(ARG0(ctx), o->response_status), HIJACKED);
}

/* (*conn).finalFlush(), at the end of a connection: a request that is open here
 * ended in a panic. */
SEC("uprobe.multi/")
int http_closed(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o || !c)
		return 0;
	c->conn = 0;
	if (!c->start || c->kind != HTTP_SERVER || c->flags & HTTP2)
		return 0;
	return http_end(ctx, &k, o, c, word(c->writer, o->response_status), ABORTED);
}

/* net/http's client. (*Transport).roundTrip(*Request) (*Response, error) */
static __always_inline int http_sending(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = HTTP_CLIENT };
	struct offsets *o = offsets_of(ctx, &k.slot);
	__u64 r = ARG1(ctx), url = 0;
	struct str method = {}, host = {}, path = {}, scheme = {};
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, r);
	if (!s)
		return 0;
	__u8 *raw = s->route;
	if (bpf_probe_read_user(raw, REQUEST, (void *)r) == 0) {
		url = FIELD(raw, o->request_url, __u64);
		method = FIELD(raw, o->request_method, struct str);
	}
	if (url) {
		bpf_probe_read_user(&host, sizeof(host), (void *)(url + o->url_host));
		bpf_probe_read_user(&path, sizeof(path), (void *)(url + o->url_path));
		bpf_probe_read_user(&scheme, sizeof(scheme), (void *)(url + o->url_scheme));
	}
	READ_TEXT(s, method, METHOD, method.at, method.len);
	READ_TEXT(s, host, HOST, host.at, host.len);
	READ_TEXT(s, text, TEXT, path.at, path.len);
	s->extra = host.at;
	s->host_size = host.len;
	if (scheme.len == 5)
		s->flags |= TLS;
	correlating = 1;
	return 0;
}

SEC("uprobe.multi/")
int http_send(struct pt_regs *ctx) { return http_sending(ctx); }

/* (*persistConn).roundTrip(*transportRequest): now the connection is known. */
SEC("uprobe.multi/")
int http_conn(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct span *s = call_now(&k, HTTP_CLIENT);
	__u64 pc = ARG0(ctx);
	if (!o || !s || s->flow.port)
		return 0;
	__u64 conn = tcp_of(o, word(pc + 8, o->pconn_conn), word(pc, o->pconn_tls));
	struct flow f = {};
	struct origin from = { .span = s->id };
	if (read_flow(conn, k.slot, HTTP_SERVER, &f)) {
		__builtin_memcpy(s->peer_ip, f.ip, 16);
		s->peer_port = f.port;
	}
	if (!read_flow(conn, k.slot, HTTP_CLIENT, &f))
		return 0;
	s->flow = f;
	__builtin_memcpy(from.trace, s->trace, 16);
	if (bpf_map_update_elem(&flows, &f, &from, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}

SEC("uprobe.multi/")
int http_sent(struct pt_regs *ctx)
{
	__u32 slot;
	struct offsets *o = offsets_of(ctx, &slot);
	if (!o)
		return 0;
	return call_end(ctx, HTTP_CLIENT, ARG1(ctx), ARG0(ctx) ? word(ARG0(ctx), o->http_response_status) : 0);
}

/* HTTP/2, of net/http and of golang.org/x/net/http2: (*responseWriter).handlerDone() */
static __always_inline int h2_served(struct pt_regs *ctx, bool x)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	if (!o)
		return 0;
	if (!c || !c->start || c->kind != HTTP_SERVER || !(c->flags & HTTP2)) {
		lose(LOSS_NO_START);
		return 0;
	}
	__u64 rws = word(ARG0(ctx), x ? o->xh2_rws : o->h2_rws);
	return http_end(ctx, &k, o, c, word(rws, x ? o->xh2_status : o->h2_status), 0);
}

SEC("uprobe.multi/")
int h2_done(struct pt_regs *ctx) { return h2_served(ctx, false); }

SEC("uprobe.multi/")
int xh2_done(struct pt_regs *ctx) { return h2_served(ctx, true); }

/* golang.org/x/net/http2: (*serverConn).runHandler(*responseWriter, *Request, …),
 * which also serves without net/http. */
SEC("uprobe.multi/")
int xh2_serve(struct pt_regs *ctx) { return http_start(ctx, ARG1(ctx), ARG2(ctx), HTTP2, true); }


/* HTTP/2's client: (*clientStream).encodeAndWriteHeaders(…), on a goroutine that works for the
 * request. The stream has its number, which is not given twice: what is noted
 * here need not be taken back. */
static __always_inline int h2_sent(struct pt_regs *ctx, bool x)
{
	struct gkey k = { .g = G(ctx) };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct context *c = bpf_map_lookup_elem(&goroutines, &k);
	struct flow f = {};
	if (!o || !c || !c->span)
		return 0;
	__u64 cc = word(ARG0(ctx), x ? o->xh2_cc : o->h2_cc);
	if (!read_flow(tcp_of(o, word(cc + 8, x ? o->xh2_client : o->h2_client), word(cc, x ? o->xh2_client_tls : o->h2_client_tls)), k.slot, HTTP_CLIENT, &f))
		return 0;
	f.stream = word(ARG0(ctx), x ? o->xh2_sent_id : o->h2_sent_id);
	struct origin from = { .span = c->span };
	__builtin_memcpy(from.trace, c->trace, 16);
	if (bpf_map_update_elem(&flows, &f, &from, BPF_ANY))
		lose(LOSS_MAP);
	return 0;
}

SEC("uprobe.multi/")
int h2_stream(struct pt_regs *ctx) { return h2_sent(ctx, false); }

SEC("uprobe.multi/")
int xh2_stream(struct pt_regs *ctx) { return h2_sent(ctx, true); }

/* golang.org/x/net/http2: (*Transport).RoundTripOpt(*Request, …) (*Response, error), also below
 * net/http's, whose call then ends it. */
SEC("uprobe.multi/")
int xh2_send(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .slot = (__u32)bpf_get_attach_cookie(ctx) };
	struct span *s = call_now(&k, HTTP_CLIENT);
	if (s && s->object == ARG1(ctx)) {
		k.kind = 0;
		call_pass(&k);
		return 0;
	}
	return http_sending(ctx);
}
