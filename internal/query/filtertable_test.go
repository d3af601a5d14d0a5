package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/store"
)

var update = flag.Bool("update", false, "rewrite testdata/filters.json")

// The browser has a parser of its own. testdata/filters.json says what this
// one makes of some thousands of texts and conditions; the tests of the UI read
// the same file, so that neither can drift.

// filterTable is the file. All conditions are [field, operator, value].
type filterTable struct {
	Read  []readCase  `json:"read"`
	Write []writeCase `json:"write"`
}

type readCase struct {
	Signal Signal `json:"signal"`
	In     string `json:"in"`
	// Times: the text is In so many times; 0 means once.
	Times int              `json:"times,omitempty"`
	Want  [][3]browserText `json:"want,omitempty"`
	// Pos is where an error is, in characters from 1 on.
	Pos int `json:"pos,omitempty"`
	// Pattern: the error is in a regular expression, which the browser does
	// not check.
	Pattern bool `json:"pattern,omitempty"`
}

type writeCase struct {
	Signal Signal         `json:"signal"`
	Cond   [3]browserText `json:"cond"`
	Text   string         `json:"text"`
}

// browserText is a string whose bytes that are no UTF-8 are written as the
// lone surrogates U+DC80 to U+DCFF, as the browser keeps them.
type browserText string

func (s browserText) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('"')
	for i, r := range string(s) {
		if r == utf8.RuneError && !strings.HasPrefix(string(s[i:]), "\ufffd") {
			fmt.Fprintf(&b, `\udc%02x`, s[i])
			continue
		}
		one, err := json.Marshal(string(r))
		if err != nil {
			return nil, err
		}
		b.Write(one[1 : len(one)-1])
	}
	b.WriteByte('"')
	return b.Bytes(), nil
}

// filterTexts are what people write, one rule of the grammar after the other.
var filterTexts = []string{
	"", " \t\n", "a = 1", "a=1,b!=2 c>=3 AND d<-4.5", "a == 1", "a=1b=2", "a = =b", "a = (b)", "a = b=c", "a = <p>",
	"service.name = order and duration > 200ms and status = error", "http.route = /api/v1/{id}?x=(y)",
	"name =~ ^(GET|POST) b !~ \"a, b\"", "x = `a \"b\" \\`", "\"my key\" = \"a \\\"b\\\"\\n\"", `x = ""`, "x = and", "x = or y = not z = exists",
	"exists http.route and span.k exists, Exists z", `"exists" exists exists "and"`, "exists and", "exists exists", "and exists", "exists not and a",
	`timeout "connection refused" 连接 = 是`, "超时", "-1", "a = -1", "a=\"b\"c", `a"b"=1`, "a`b`", "EXİSTS a", "a Or b", "a NOT b", "ſ",
	// Joins.
	"a = 1 and", "a = 1,", "a = 1 and and b = 2", "a = 1, and b = 2", "a = 1,, b = 2", ",", "and", "and b = 2", "or b = 2", "a or b", "not b = 2", `a "or" b`, "a and or",
	// Operators.
	"a <> b", "a =! 2", "a =~~ b", "a ~ b", "a === 1", "a > 1", "a >1", "a>=1", "a => 1", "= 2", "a =", "a = ", "a !", "<", "a = ,", "a = b,c",
	// Parentheses.
	"(a = 2)", "a)", "a (b", "a = 1 (", ")", "a = )",
	// Quotes and escapes.
	`a = "b`, "a = `b", `"`, "`", `""`, `" "`, "\"\u0085\"", "\"\u00a0\" = 1", "\"\ufeff\"", "\"\ufeff\" = 1", `"" = 1`, `"" exists`, `exists ""`, `exists " "`, "``", `"" = `,
	`a = "\a\b\f\n\r\t\v\\\""`, `a = "\'"`, `a = "\q"`, `a = "\`, `a = "\"`, `a = "\\"`, `a = "\x41\x7f"`, `a = "\X41"`, `a = "\x4"`, `a = "\xE4\xb8\xAD"`, `a = "\xe4\xb8"`, `a = "x\xffy"`,
	`a = "\377"`, `a = "\400"`, `a = "\101\040"`, `a = "\8"`, `a = "\0"`, `a = "\u4e2d"`, `a = "\u4E2D文"`, `a = "\u12"`, `a = "\ud800"`, `a = "\udc80"`, `a = "\U0001F600"`, `a = "\U00110000"`, `a = "\U0010ffff"`,
	`a = "\U0000d800"`, `a = "\N"`, "a = \"x\ny\"", "a = \"x\\\ny\"", "a = `x\ny`", "a = \"tab\there\"", "a = \"\ufffd\"", "a = \"\ufffd\\n\"", "a = `\\n\r`", `a = "😀"`, `"键" = "值"`, `😀 = 1 or`, "\U0001f600\U0001f600 (", `a = "\xed\xa0\x80"`, `a = "\xf0\x9f\x98\x80\xf0\x9f"`, `a = "\xef\xbb\xbfx"`,
	// White space and characters that no word holds.
	"a\u00a0=\u00a01", "a\u3000=\u30001", "a\u0085=\u00851", "a\u2028b", "a\ufeffb", "\ufeffa = 1", "a = 1\u200b", "a\u00adb", "a = \ufffd", "\ufffd", "a = x\u0000", "a\u007f", "a = \ue000", "a = \uffff", "a = \u0378", "a = e\u0301", "\u0301", "a = \U000e0001", "\u180eb", "a\vb\fc",
	// Values of known fields.
	"kind = Server status != OK root=TRUE", "kind = clİent", "kind = http", "status = bad", "status = \"\"", "status > ok", "status > bad", "status =~ ^e", "kind exists", "root = 1", "root < true",
	"severity >= WARN", "severity = unset", "severity > loud", "severity = \"\"", "severity =~ w", "severity = ERROR2",
	"trace_id = 4BF92F3577B34DA6A3CE929D0E0E4736", "trace_id = 12", `trace_id = ""`, "trace_id > 4bf92f3577b34da6a3ce929d0e0e4736", "span_id = 00f067aa0ba902b7", "span_id = 00f067aa0ba902bg", "parent_span_id = \"\"", "parent_span_id = 0", "parent_span_id != 00F067AA0BA902B7", "span_id = 00f067aa0ba902b\u212a",
	"span.duration > 5", "resource.status = bad", "\"duration\" = 5s", "Duration = 5", "status.message = x", "span.kind = http", "log.severity > 3",
	// Durations.
	"duration >= 1h30m duration < 1.5us", "duration > 200", "duration > fast", "duration =~ 2.*", "duration !~ x", `duration = ""`, "duration = 1.5s", "duration = .5s", "duration = 5.s", "duration = .s", "duration = 1.2.3s", "duration = -1s", "duration = +1s", "duration = 1e3s", "duration = 0s", "duration = 007ms", "duration = 1us", "duration = 1µs", "duration = 1μs", "duration = 1S", "duration = 1 s", `duration = "1 s"`, "duration = 1m1m", "duration = 1mm", "duration = 1ms1", "duration = 2w3d4h5m6s7ms8us9ns",
	"duration = 9223372036854775807ns", "duration = 9223372036854775808ns", "duration = 9223372036854775807ns1ns", "duration = 15250w", "duration = 15251w", "duration = 15250.2w", "duration = 15250.3w", "duration = 0.49999999999999994ns", "duration = 0.5ns", "duration = 1.5ns", "duration = 2.5ns", "duration = 0.1us", "duration = 123456789.123456789s", "duration = 99999999999999999999ns", "duration = 1.0000000000000000000001ns", "duration = 12345678901234567.5ns", "duration = 3.3333333333h",
	// Numbers.
	"a > b", "a > 1e3", "a > 1e999", "a > -1e-999", "a > .5", "a > 5.", "a > .", "a > +5", "a > --5", "a > inf", "a > -Infinity", "a > infin", "a > nan", "a > -nan", "a > 0x10", "a > 0x1p4", "a > 0x.8p1", "a > 0x1.8P-3", "a > 0xp1", "a > 0x1p", "a > 0x1p99999", "a > 1_000", "a > 1__0", "a > _1", "a > 1_", "a > 1_.5", "a > 1._5", "a > 0x_1p4", "a > 0x1_p4", "a > 0x1p1_0", "a > 0b1", "a > 0b_1", "a > 0_1", "a > 1e1_0", "a > +_1", "a > 1e", "a > 1e+", "a > １", "a > 500ms", `a > ""`, `a > " 1"`, "a < 1.7976931348623157e308", "a < 1.7976931348623159e308", "a < 179769313486231580793e289", "a > - 1",
	// Patterns, of which the browser does not judge.
	"a =~ a(b", "名字 =~ a(b", "a =~ (?i)x", "a =~ [[:alpha:]]", "a =~ (?=x)", `a !~ "\\pN+$"`, "a =~ *", `a =~ "("`, `a =~ "" `, "a =~ a(b and (",
}

// filterValues are values that a click adds to a filter.
var filterValues = []string{
	"order", "a b", " a", "a ", "", " ", `"`, `'`, "`", "``", `\`, `\\`, `a"b`, `a\b`, `\n`, `"a\"`, "line\nbreak", "a\r\nb", "tab\t", "\a\b\f\v", "\x00", "\x1b[0m", "\x7f",
	"-", "-1", "--flag", "0", "007", "1e3", "5", "3.14", "1e-07", "1e+21", "-0", "true", "null", "200ms", "and", "AND", "Or", "not", "exists", "EXİSTS", "android",
	"a,b", ",", "a=b", "=x", "!x", "~", ">=", "<p>", "(x)", ")", "a(b)", "x(", "[1,2]", `{"a":"b"}`, `["x"]`, "GET /api/v1/orders/{id}?x=y&z=1", "http://x/a?b=c#d", "SELECT * FROM t WHERE a = 'b'",
	"订单", "华东 一", "e\u0301", "\u00e9", "😀", "👩\u200d💻", "\ufeffx", "a\ufeff", "\u00a0", "a\u3000b", "\u2028", "\u200b", "\u00ad", "\u0085", "\ufffd", "\ue000", "\U000f0000", "\xff", "a\xffb", "\xe4\xb8", "\xed\xa0\x80", "\xf0\x9f\x98",
	"%41", "+", "a+b", "&", "#", "?", "*", "^(a|b)$", `^\d+$`, `C:\Program Files\x.exe`, "${x}", "$1", "$&", "//", "/* */", "--", ";", ":", "@", "|", "'; DROP TABLE spans; --",
}

// pieces make random filters. They are what the grammar tells apart, so that
// most neighbours matter.
var pieces = []string{
	" ", " ", " ", "\t", "\u3000", "\u0085", "\ufeff", ",", "and", "or", "not", "exists", "=", "!=", "=~", "!~", "<", ">=", "~", "(", ")", `"`, `"`, "`", `\`, `\n`, `\x4`, `\xe4`, `\u4e2d`, `\"`,
	"a", "b.c", "duration", "status", "severity", "trace_id", "kind", "error", "WARN", "200ms", "1h", "5", "-1", "1e3", ".5", "文", "😀", "\ufffd", "\n", "\u200b", `""`, `"x y"`, "`r`",
}

const randomFilters = 1200

func newFilterTable(t *testing.T) filterTable {
	t.Helper()
	var table filterTable
	for _, long := range []struct {
		in    string
		times int
	}{{"x ", maxConds}, {"x ", maxConds + 1}, {"x,", maxConds}, {"x and ", maxConds + 1}, {"x", maxFilter}, {"x", maxFilter + 1}, {"文", maxFilter / 3}, {"文", maxFilter/3 + 1}, {"😀", maxFilter/4 + 1}, {"xx😀文", maxFilter / 8}} {
		c := readFilter(t, Traces, strings.Repeat(long.in, long.times))
		c.In, c.Times = long.in, long.times
		if len(c.Want) == 1 {
			c.Want[0][2] = browserText(long.in) // likewise
		}
		table.Read = append(table.Read, c)
	}
	texts := slices.Clone(filterTexts)
	rng := rand.New(rand.NewPCG(1, 2))
	for range randomFilters {
		var b strings.Builder
		for range 1 + rng.IntN(9) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		texts = append(texts, b.String())
	}
	for _, signal := range []Signal{Traces, Logs} {
		for i, in := range texts {
			if signal == Logs && i >= len(texts)-randomFilters/2 {
				break // the signals differ in the known fields only
			}
			table.Read = append(table.Read, readFilter(t, signal, in))
		}
		for _, v := range filterValues {
			for _, c := range []store.Cond{{Field: "span.k", Op: store.OpEq, Value: v}, {Field: "resource.a b", Op: store.OpNe, Value: v}, {Op: store.OpText, Value: v}, {Field: v, Op: store.OpExists}, {Field: v, Op: store.OpEq, Value: "x"}} {
				if c.Op == store.OpText && strings.TrimSpace(c.Value) == "" || c.Op != store.OpText && strings.TrimSpace(c.Field) == "" {
					continue // no condition
				}
				table.Write = append(table.Write, writeFilter(t, signal, c))
			}
		}
	}
	for _, c := range []store.Cond{
		{Field: "duration", Op: store.OpGe, Value: "1500000ns"}, {Field: "duration", Op: store.OpLt, Value: "1.5s"}, {Field: "status", Op: store.OpEq, Value: "error"},
		{Field: "kind", Op: store.OpNe, Value: "unspecified"}, {Field: "name", Op: store.OpEq, Value: "GET /a b"}, {Field: "trace_id", Op: store.OpEq, Value: "4bf92f3577b34da6a3ce929d0e0e4736"},
	} {
		table.Write = append(table.Write, writeFilter(t, Traces, c))
	}
	for _, c := range []store.Cond{
		{Field: "severity", Op: store.OpEq, Value: "unset"}, {Field: "body", Op: store.OpRe, Value: `^a \[x\] = .*\.$`}, {Field: "body", Op: store.OpEq, Value: "stack:\n\tat x\n"},
	} {
		table.Write = append(table.Write, writeFilter(t, Logs, c))
	}
	return table
}

func readFilter(t *testing.T, signal Signal, in string) readCase {
	t.Helper()
	out := readCase{Signal: signal, In: in, Want: [][3]browserText{}}
	f, err := ParseFilter(in, signal)
	if err != nil {
		var e *FieldError
		if !errors.As(err, &e) {
			t.Fatalf("%q: got error %v, want a FieldError", in, err)
		}
		return readCase{Signal: signal, In: in, Pos: e.Pos, Pattern: strings.Contains(e.Msg, "not a regular expression")}
	}
	for _, c := range f {
		out.Want = append(out.Want, browserCond(c))
	}
	return out
}

// writeFilter is how a condition is written; it must read back as it was.
func writeFilter(t *testing.T, signal Signal, c store.Cond) writeCase {
	t.Helper()
	out := writeCase{Signal: signal, Cond: browserCond(c), Text: Filter{c}.Text(signal)}
	got, err := ParseFilter(out.Text, signal)
	if err != nil {
		t.Fatalf("%q: %v", out.Text, err)
	}
	if c.Field == "duration" {
		d, err := nanos(c.Value)
		if err != nil {
			t.Fatal(err)
		}
		c.Value = d
	}
	if diff := cmp.Diff(Filter{c}, got); diff != "" {
		t.Fatalf("%q (-want +got):\n%s", out.Text, diff)
	}
	return out
}

func browserCond(c store.Cond) [3]browserText {
	return [3]browserText{browserText(c.Field), browserText(c.Op), browserText(c.Value)}
}

func TestFilterTableOfTheBrowser(t *testing.T) {
	table := newFilterTable(t)
	var b bytes.Buffer
	line := func(v any) {
		one, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n")
		b.Write(one)
	}
	b.WriteString(`{"read":[`)
	for i, c := range table.Read {
		if i > 0 {
			b.WriteByte(',')
		}
		line(c)
	}
	b.WriteString("],\n\"write\":[")
	for i, c := range table.Write {
		if i > 0 {
			b.WriteByte(',')
		}
		line(c)
	}
	b.WriteString("]}\n")
	path := filepath.Join("testdata", "filters.json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The first line that differs says more than all of them.
	got, wants := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(wants)) {
		if i >= len(got) || i >= len(wants) || got[i] != wants[i] {
			t.Fatalf("%s is not what the grammar says from line %d on; run go test ./internal/query -update, then npm test in ui\ngot  %.300s\nwant %.300s", path, i+1, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), strings.Join(wants[min(i, len(wants)):min(i+1, len(wants))], ""))
		}
	}
}
