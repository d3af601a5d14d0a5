package sdkredis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// isHandshake tells the commands that go-redis sends by itself on a new
// connection. They are a part of opening it, some fail on older servers without
// harm, and if one fails that matters, so does the command that wanted the
// connection.
func isHandshake(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "readonly":
		return true
	case "client":
		if args := cmd.Args(); len(args) > 1 {
			switch sub, _ := args[1].(string); strings.ToLower(sub) {
			case "setinfo", "setname", "maint_notifications", "tracking":
				return true
			}
		}
	}
	return false
}

// nameTable has the names of commands in capitals, as Redis writes them. Names
// may come from anywhere, through Do: so their number is bounded.
type nameTable struct {
	mu    sync.RWMutex
	names map[string]commandName
}

type commandName struct{ plain, pipeline, transaction string }

var names = nameTable{names: map[string]commandName{}}

const (
	// maxNames is more than Redis and its modules have commands.
	maxNames = 1000
	// maxName is longer than the longest of them.
	maxName = 40
	// otherName stands for what is no command.
	otherName = "_OTHER"
)

func (t *nameTable) of(cmd redis.Cmder) string { return t.find(cmd.Name()).plain }

func (t *nameTable) find(name string) commandName {
	t.mu.RLock()
	n, ok := t.names[name]
	t.mu.RUnlock()
	if ok {
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if name == "" || len(name) > maxName || len(t.names) >= maxNames {
		return commandName{otherName, "PIPELINE", "MULTI"}
	}
	upper := strings.ToUpper(strings.Clone(name)) // the command's argument may be a part of more
	n = commandName{upper, "PIPELINE " + upper, "MULTI " + upper}
	t.names[strings.Clone(name)] = n
	return n
}

// ofPipeline names a pipeline or transaction by the command that all of it has
// in common, and returns the commands without MULTI and EXEC. A pipeline of one
// command is that command.
func (t *nameTable) ofPipeline(cmds []redis.Cmder) (string, []redis.Cmder) {
	transaction := len(cmds) > 1 && cmds[0].Name() == "multi" && cmds[len(cmds)-1].Name() == "exec"
	if transaction {
		cmds = cmds[1 : len(cmds)-1]
	}
	var common commandName
	for i, c := range cmds {
		n := t.find(c.Name())
		if i > 0 && n != common {
			common = commandName{pipeline: "PIPELINE", transaction: "MULTI"}
			break
		}
		common = n
	}
	switch {
	case transaction && len(cmds) > 0:
		return common.transaction, cmds
	case transaction:
		return "MULTI", cmds
	case len(cmds) == 1:
		return common.plain, cmds
	}
	return common.pipeline, cmds
}

const (
	// maxArgs is how many arguments of a command are shown; how many there are
	// is told.
	maxArgs = 8
	// maxCommands is how many commands of a pipeline are shown.
	maxCommands = 10
	// maxKey is how much of a key is shown.
	maxKey = 128
)

// text is what commands look like: their names and a ? for each argument, and
// with keys the first of these as it is.
func text(cmds []redis.Cmder, keys bool) string {
	var b strings.Builder
	for i, c := range cmds {
		if i > 0 {
			b.WriteString("; ")
		}
		if i == maxCommands {
			fmt.Fprintf(&b, "... (%d commands)", len(cmds))
			break
		}
		name := names.of(c)
		b.WriteString(name)
		args := c.Args()
		for n := 1; n < len(args); n++ {
			if n > maxArgs {
				fmt.Fprintf(&b, " ... (%d arguments)", len(args)-1)
				break
			}
			key, isText := args[n].(string)
			if n > 1 || !keys || !isText || !keyFirst[name] {
				b.WriteString(" ?")
				continue
			}
			b.WriteByte(' ')
			b.WriteString(strings.ToValidUTF8(key[:min(len(key), maxKey)], ""))
		}
	}
	return b.String()
}

// keyFirst are the commands whose first argument is a key. That of others may be
// a password, a message or a script.
var keyFirst = func() map[string]bool {
	all := map[string]bool{}
	for name := range strings.FieldsSeq(`
		APPEND DECR DECRBY GET GETBIT GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT MGET MSET MSETNX PSETEX SET SETBIT SETEX SETNX SETRANGE STRLEN SUBSTR BITCOUNT BITFIELD BITFIELD_RO BITPOS
		COPY DEL DUMP EXISTS EXPIRE EXPIREAT EXPIRETIME MOVE PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RENAME RENAMENX RESTORE SORT SORT_RO TOUCH TTL TYPE UNLINK WATCH
		HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSETNX HSTRLEN HTTL HVALS
		BLMOVE BLPOP BRPOP BRPOPLPUSH LINDEX LINSERT LLEN LMOVE LPOP LPOS LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPOPLPUSH RPUSH RPUSHX
		SADD SCARD SDIFF SDIFFSTORE SINTER SINTERSTORE SISMEMBER SMEMBERS SMISMEMBER SMOVE SPOP SRANDMEMBER SREM SSCAN SUNION SUNIONSTORE
		BZPOPMAX BZPOPMIN ZADD ZCARD ZCOUNT ZDIFFSTORE ZINCRBY ZINTERSTORE ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE ZUNIONSTORE
		GEOADD GEODIST GEOHASH GEOPOS GEORADIUS GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GEOSEARCHSTORE PFADD PFCOUNT PFMERGE
		XACK XACKDEL XADD XAUTOCLAIM XCLAIM XDEL XDELEX XLEN XPENDING XRANGE XREVRANGE XSETID XTRIM`) {
		all[name] = true
	}
	return all
}()

// errPanicked stands for an outcome that is not known, as a hook or a dialer has
// panicked. A panic is not stopped to see it: it goes on as it would.
var errPanicked = errors.New("a hook panicked")

// failureOf is the class of an error: the prefix that Redis gave it, which is
// also the status, or what went wrong on the way. Both are empty for what is no
// failure: a key that is not there, and a transaction that another one was
// quicker than.
func failureOf(err error) (failure, status string) {
	if err == nil {
		return "", ""
	}
	return classify(err)
}

// These errors have names in newer versions of go-redis only.
const (
	poolTimeout   = "redis: connection pool timeout"
	poolExhausted = "redis: connection pool exhausted"
)

// classify is apart from failureOf because what it looks for takes memory.
func classify(err error) (failure, status string) {
	var timeout net.Error
	var op *net.OpError
	var redisError redis.Error
	switch {
	case err == errPanicked:
		return "panic", ""
	case errors.Is(err, redis.Nil), errors.Is(err, redis.TxFailedErr):
		return "", ""
	case errors.Is(err, context.Canceled):
		return "canceled", ""
	case strings.Contains(err.Error(), poolTimeout):
		return "pool_timeout", ""
	case strings.Contains(err.Error(), poolExhausted):
		return "pool_exhausted", ""
	case errors.Is(err, redis.ErrClosed):
		return "client_closed", ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", ""
	case errors.As(err, &redisError):
		status = prefix(redisError.Error())
		return status, status
	case errors.As(err, &op):
		return op.Op + "_error", ""
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection_closed", ""
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T", err), ""
}

// maxPrefix is longer than the prefixes of errors that Redis has.
const maxPrefix = 24

// prefix is the word in capitals that an error of Redis begins with. Scripts
// make errors of their own, which have any.
func prefix(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if len(word) == 0 || len(word) > maxPrefix {
		return "ERR"
	}
	for i := range len(word) {
		if c := word[i]; (c < 'A' || c > 'Z') && c != '_' {
			return "ERR"
		}
	}
	return word
}
