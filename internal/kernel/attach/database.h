/* database/sql and go-redis. */
#pragma once

#include "work.h"

/* database/sql. */
static __always_inline int sql_start(struct pt_regs *ctx, struct gkey *k, struct offsets *o, __u64 db, __u64 object, __u64 at, __u64 len)
{
	struct span *s = call_start(k, o, object);
	if (!s)
		return 0;
	s->extra = word(db, o->db_connector);
	/* dsnConnector { dsn string; driver driver.Driver } */
	if (o->db_connector != NONE)
		s->extra2 = word(word(db + 8, o->db_connector), 16);
	READ_TEXT(s, text, TEXT, at, len);
	return 0;
}

/* (*DB).queryDC(ctx, txctx, dc, release, query, args) (*Rows, error) */
SEC("uprobe.multi/")
int sql_query(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o ? sql_start(ctx, &k, o, ARG0(ctx), ARG5(ctx), ARG7(ctx), ARG8(ctx)) : 0;
}

/* (*DB).execDC(ctx, dc, release, query, args) (Result, error) */
SEC("uprobe.multi/")
int sql_exec(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	return o ? sql_start(ctx, &k, o, ARG0(ctx), ARG3(ctx), ARG5(ctx), ARG6(ctx)) : 0;
}

/* (*Stmt).QueryContext and ExecContext(ctx, args) */
SEC("uprobe.multi/")
int sql_stmt(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = SQL };
	struct offsets *o = offsets_of(ctx, &k.slot);
	struct str query = {};
	if (!o)
		return 0;
	__u64 st = ARG0(ctx);
	bpf_probe_read_user(&query, sizeof(query), (void *)(st + o->stmt_query));
	return sql_start(ctx, &k, o, word(st, o->stmt_db), st, query.at, query.len);
}

SEC("uprobe.multi/")
int sql_queried(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG1(ctx), 0); }

SEC("uprobe.multi/")
int sql_execed(struct pt_regs *ctx) { return call_end(ctx, SQL, ARG2(ctx), 0); }

/* go-redis. (*baseClient).process(ctx, Cmder, …) error */
static __always_inline void redis_address(struct span *s, struct offsets *o, __u64 client)
{
	__u64 opt = word(client, o->redis_opt);
	READ_STRING(s, host, HOST, opt, o->redis_addr);
}

SEC("uprobe.multi/")
int redis_send(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	__u64 cmd = ARG4(ctx), args = word(cmd, o->redis_args);
	struct span *s = call_start(&k, o, cmd);
	if (!s)
		return 0;
	/* The first of []any, a string. */
	__u64 name = args ? word(args + 8, 0) : 0;
	READ_STRING(s, method, METHOD, name, 0);
	redis_address(s, o, ARG0(ctx));
	s->extra = 1;
	return 0;
}

/* (*baseClient).generalProcessPipeline(ctx, []Cmder, …) error */
SEC("uprobe.multi/")
int redis_pipe(struct pt_regs *ctx)
{
	struct gkey k = { .g = G(ctx), .kind = REDIS };
	struct offsets *o = offsets_of(ctx, &k.slot);
	if (!o)
		return 0;
	struct span *s = call_start(&k, o, ARG3(ctx));
	if (!s)
		return 0;
	__builtin_memcpy(s->method, "PIPELINE", 8);
	s->method_len = 8;
	redis_address(s, o, ARG0(ctx));
	s->extra = ARG4(ctx);
	return 0;
}

/* A value that is not there is no error: proto.RedisError("redis: nil"). */
SEC("uprobe.multi/")
int redis_sent(struct pt_regs *ctx)
{
	__u64 error = ARG0(ctx);
	if (error) {
		struct str e = {};
		char text[10] = {};
		bpf_probe_read_user(&e, sizeof(e), (void *)ARG1(ctx));
		if (e.len == 10 && bpf_probe_read_user(text, 10, (void *)e.at) == 0 && *(__u64 *)text == 0x6e203a7369646572ULL)
			error = 0;
	}
	return call_end(ctx, REDIS, error, 0);
}
