package query

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/guanlan-io/guanlan/internal/store"
)

func TestParseFilter(t *testing.T) {
	f := func(signal Signal, in string, want ...store.Cond) {
		t.Helper()
		got, err := ParseFilter(in, signal)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if diff := cmp.Diff(Filter(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", in, diff)
		}
	}
	c := func(field string, op store.Op, value string) store.Cond {
		return store.Cond{Field: field, Op: op, Value: value}
	}
	text := func(s string) store.Cond { return store.Cond{Op: store.OpText, Value: s} }
	exists := func(s string) store.Cond { return store.Cond{Field: s, Op: store.OpExists} }

	f(Traces, "")
	f(Traces, "  \t ")
	f(Traces, "service.name = order and duration > 200ms and status = error",
		c("service.name", "=", "order"), c("duration", ">", "200000000"), c("status", "=", "error"))
	// Comma, space and "and" mean the same; spaces around operators do not matter.
	f(Traces, "a=1,b!=2 c>=3 AND d<-4.5", c("a", "=", "1"), c("b", "!=", "2"), c("c", ">=", "3"), c("d", "<", "-4.5"))
	f(Traces, "a == 1", c("a", "=", "1"))
	// Values hold anything up to white space, a comma or a quote.
	f(Traces, "http.route = /api/v1/{id}?x=(y)", c("http.route", "=", "/api/v1/{id}?x=(y)"))
	f(Traces, `name =~ ^(GET|POST) b !~ "a, b"`, c("name", "=~", "^(GET|POST)"), c("b", "!~", "a, b"))
	f(Traces, "x = `a \"b\" \\`", c("x", "=", `a "b" \`))
	f(Traces, `"my key" = "a \"b\"\n"`, c("my key", "=", "a \"b\"\n"))
	f(Traces, `x = ""`, c("x", "=", ""))
	f(Traces, "x = and", c("x", "=", "and"))
	f(Traces, "exists http.route and span.k exists, Exists z", exists("http.route"), exists("span.k"), exists("z"))
	f(Traces, `"exists" exists exists "and"`, exists("exists"), exists("and"))
	// Text.
	f(Logs, `timeout "connection refused" 连接 = 是`, text("timeout"), text("connection refused"), c("连接", "=", "是"))
	f(Logs, "超时", text("超时"))
	// Known values are brought to the form that is stored.
	f(Traces, "kind = Server status != OK root=TRUE", c("kind", "=", "server"), c("status", "!=", "ok"), c("root", "=", "true"))
	f(Traces, "duration >= 1h30m duration < 1.5us", c("duration", ">=", "5400000000000"), c("duration", "<", "1500"))
	f(Traces, "trace_id = 4BF92F3577B34DA6A3CE929D0E0E4736", c("trace_id", "=", "4bf92f3577b34da6a3ce929d0e0e4736"))
	f(Logs, "severity >= WARN", c("severity", ">=", "warn"))
	// Ids of records are text, other than those of spans.
	f(Logs, "trace_id =~ ^4bf", c("trace_id", "=~", "^4bf"))
	// What is special for one signal is an attribute of the other.
	f(Logs, "duration = 200ms status = 500", c("duration", "=", "200ms"), c("status", "=", "500"))
	f(Traces, "severity = high", c("severity", "=", "high"))
}

func TestParseFilterErrors(t *testing.T) {
	f := func(signal Signal, in string, pos int, want string) {
		t.Helper()
		_, err := ParseFilter(in, signal)
		var e *FieldError
		if !errors.As(err, &e) {
			t.Errorf("%q: got error %v, want a FieldError", in, err)
			return
		}
		if e.Field != "filter" || e.Pos != pos || !strings.Contains(e.Msg, want) || e.Next == "" {
			t.Errorf("%q: got %+v, want position %d and %q", in, *e, pos, want)
		}
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%q: not ErrInvalid", in)
		}
	}
	f(Traces, "a =", 4, "want a value after =")
	f(Traces, "a = 1 and", 10, "want a condition after and")
	f(Traces, "a = 1 or b = 2", 7, "or is not part")
	f(Traces, "or b = 2", 1, "not or")
	f(Traces, "and b = 2", 1, "before and")
	f(Traces, "not b = 2", 1, "not is not part")
	f(Traces, "= 2", 1, `want a field or a word, not '='`)
	f(Traces, "(a = 2)", 1, "parentheses")
	f(Traces, "a =! 2", 3, "no operator =!")
	f(Traces, "a > b", 5, "compares numbers")
	f(Traces, "duration > 200", 12, "want a unit")
	f(Traces, "duration > fast", 12, "want a number and a unit")
	f(Traces, "duration =~ 2.*", 10, "duration takes no pattern")
	f(Traces, "status = ok and trace_id =~ ^4bf", 26, "trace_id takes no pattern")
	f(Traces, "trace_id !~ ^4bf", 10, "trace_id takes no pattern")
	f(Traces, "trace_id !=~ ^4bf", 10, "no operator !=~")
	f(Traces, "span_id =~ 4", 9, "span_id takes no pattern")
	f(Traces, "parent_span_id !~ 4", 16, "parent_span_id takes no pattern")
	for _, op := range []string{"<", "<=", ">", ">="} {
		f(Traces, "trace_id "+op+" 4bf", 10, "trace_id has no order")
		f(Logs, "span_id "+op+" 4bf", 9, "span_id has no order")
	}
	f(Traces, "status = bad", 10, "want one of unset, ok, error")
	f(Traces, "status > ok", 8, "no order")
	f(Traces, "kind = http", 8, "want one of internal")
	f(Logs, "severity > loud", 12, "want one of trace")
	f(Traces, "trace_id = 12", 12, "want 32 hexadecimal digits")
	f(Traces, "名字 =~ a(b", 7, "missing closing )")
	f(Traces, `a = "b`, 5, "quote does not end")
	f(Traces, "a = `b", 5, "quote does not end")
	f(Traces, `a = "\q"`, 5, "escape")
	f(Traces, "exists", 7, "want a field after exists")
	f(Traces, `exists ""`, 8, "want a field to exist")
	f(Traces, `"" = 1`, 1, "want a field before =")
	f(Traces, `" "`, 1, "want words")
	f(Traces, "a = 1,, b = 2", 7, "want a field or a word")
	f(Traces, strings.Repeat("x ", maxConds+1), 2*maxConds+1, "more than 64 conditions")
	f(Traces, strings.Repeat("x", maxFilter+1), maxFilter+1, "longer than")
}

func TestFilterTextReadsBack(t *testing.T) {
	ops := []store.Op{store.OpEq, store.OpNe, store.OpRe, store.OpNre, store.OpLt, store.OpExists, store.OpText}
	word := rapid.OneOf(
		rapid.StringMatching(`[a-z.]{1,8}`),
		rapid.SampledFrom([]string{"and", "OR", "exists", "not", "a b", "a,b", "=x", "~", `"`, "`", "(x)", "\xff", "时间", "a\u0000"}),
		rapid.StringN(1, 20, -1),
	).Filter(func(s string) bool { return strings.TrimSpace(s) != "" })
	rapid.Check(t, func(t *rapid.T) {
		var want Filter
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			c := store.Cond{Op: rapid.SampledFrom(ops).Draw(t, "op"), Field: "k" + word.Draw(t, "field")}
			switch c.Op {
			case store.OpText:
				c.Field, c.Value = "", word.Draw(t, "text")
			case store.OpExists:
			case store.OpLt:
				c.Value = rapid.StringMatching(`[0-9]{1,5}`).Draw(t, "number")
			case store.OpRe, store.OpNre:
				c.Value = rapid.StringMatching(`[a-z ,|]{0,5}`).Draw(t, "pattern")
			default:
				c.Value = rapid.OneOf(word, rapid.Just("")).Draw(t, "value")
			}
			want = append(want, c)
		}
		text := want.Text(Logs)
		got, err := ParseFilter(text, Logs)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", text, diff)
		}
	})
}

func TestFilterTextOfDurations(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := ParseFilter("duration > "+in, Traces)
		if err != nil {
			t.Fatal(err)
		}
		if s := got.Text(Traces); s != "duration > "+want {
			t.Errorf("%s: got %s", in, s)
		}
	}
	f("0s", "0ns")
	f("200ms", "200ms")
	f("1.5s", "1500ms")
	f("1500us", "1500us")
	f("90m", "90m")
	f("1d", "24h")
	f("7ns", "7ns")
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"", "a = 1", `"a b" exists and x =~ "^y"`, "duration > 200ms, status = error", "severity >= warn 超时", "`", `a = "\`, "=", "((", "a = \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, signal := range []Signal{Traces, Logs} {
			got, err := ParseFilter(in, signal)
			if err != nil {
				var e *FieldError
				if !errors.As(err, &e) || e.Pos < 1 || e.Msg == "" {
					t.Fatalf("%q: error %v says too little", in, err)
				}
				continue
			}
			text := got.Text(signal)
			again, err := ParseFilter(text, signal)
			if err != nil {
				t.Fatalf("%q → %q: %v", in, text, err)
			}
			if diff := cmp.Diff(got, again); diff != "" {
				t.Fatalf("%q → %q (-first +second):\n%s", in, text, diff)
			}
		}
	})
}
