package jsonlog

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// tree is what was added, as encoding/json would have it.
type tree struct{ open []map[string]any }

func newTree() *tree { return &tree{[]map[string]any{{}}} }

func (t *tree) Add(a core.Attr) { t.open[len(t.open)-1][a.Key] = plain(a.Value) }

func (t *tree) OpenGroup(name string) {
	inner := map[string]any{}
	t.open[len(t.open)-1][name] = inner
	t.open = append(t.open, inner)
}

func (t *tree) CloseGroup() { t.open = t.open[:len(t.open)-1] }

func plain(v core.Value) any {
	switch x := v.Any().(type) {
	case []core.Value:
		list := make([]any, len(x))
		for i := range x {
			list[i] = plain(x[i])
		}
		return list
	case []core.Attr:
		m := map[string]any{}
		for _, a := range x {
			m[a.Key] = plain(a.Value)
		}
		return m
	default:
		return x
	}
}

func TestAdd(t *testing.T) {
	deep := strings.Repeat(`{"a":`, maxDepth+1) + `[1,"}"]` + strings.Repeat("}", maxDepth+1)
	for _, c := range []struct{ name, text, want, rest string }{
		{"kinds", `{"s":"x","i":-7,"f":1.5,"e":1e3,"b":true,"n":null}`, `{"s":"x","i":-7,"f":1.5,"e":1000,"b":true,"n":null}`, ""},
		{"large", `{"most":9223372036854775807,"more":9223372036854775808}`, `{"most":9223372036854775807,"more":"9223372036854775808"}`, ""},
		{"escapes", `{"a\"b":"\u0041\n\ud83d\ude00\/"}`, `{"a\"b":"A\n😀/"}`, ""},
		{"groups", `{"g":{"h":{"i":1},"j":{}},"k":2}`, `{"g":{"h":{"i":1},"j":{}},"k":2}`, ""},
		{"lists", `{"l":[1,"a",[],{"m":{"n":[2]}}]}`, `{"l":[1,"a",[],{"m":{"n":[2]}}]}`, ""},
		{"space", " {\t\"a\" : 1 ,\n\"l\" : [ 1 , 2 ] } \n", `{"a":1,"l":[1,2]}`, ""},
		{"no end", `{"a":1,"b":{"c":2}`, `{"a":1,"b":{"c":2}}`, ""},
		{"begun", `{`, `{}`, ""},
		{"no object", `[1]`, `{}`, `[1]`},
		{"nothing", ``, `{}`, ``},
		{"no value", `{"a":1,"b":}`, `{"a":1}`, `"b":}`},
		{"no JSON", `{"a":1,"b":0x10,"c":2}`, `{"a":1}`, `"b":0x10,"c":2}`},
		{"cut", `{"a":1,"b":"tw`, `{"a":1}`, `"b":"tw`},
		{"cut in a group", `{"a":{"b":1,"c":[`, `{"a":{"b":1}}`, `"c":[`},
		{"two", `{"a":1}{"b":2}`, `{"a":1}`, ``},
		{"deep", deep, strings.Repeat(`{"a":`, maxDepth+1) + `"[1,\"}\"]"` + strings.Repeat("}", maxDepth+1), ""},
	} {
		got := newTree()
		rest := Add(got, c.text)
		text, err := json.Marshal(got.open[0])
		if err != nil {
			t.Fatal(err)
		}
		var have, want any
		if json.Unmarshal(text, &have) != nil || json.Unmarshal([]byte(c.want), &want) != nil {
			t.Fatalf("%s: %s is no JSON", c.name, text)
		}
		if !reflect.DeepEqual(have, want) || rest != c.rest || len(got.open) != 1 {
			t.Errorf("%s: got %s and %q, want %s and %q", c.name, text, rest, c.want, c.rest)
		}
	}
}

func TestMembersAreBounded(t *testing.T) {
	got := newTree()
	many := "{" + strings.Repeat(`"a":[{"b":1}],`, maxMembers)
	rest := Add(got, many)
	if want := many[1+len(many)/2:]; rest != want {
		t.Errorf("%d bytes are left, want %d", len(rest), len(want))
	}
}

func FuzzAdd(f *testing.F) {
	for _, text := range []string{`{"a":1}`, `{"a":{"b":[1,{"c":null}]},"d":"\u00e4\\"}`, `{"a":-0.5e-3,"b":[[],[{}]]}`, `{"a":"` + "\xff" + `"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := newTree()
		rest := Add(got, text)
		if len(got.open) != 1 || !strings.HasSuffix(text, rest) {
			t.Fatalf("%q: %d groups are open, rest %q", text, len(got.open)-1, rest)
		}
		var want map[string]any
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if !utf8.ValidString(text) || dec.Decode(&want) != nil || want == nil || strings.Count(text, ":") > maxMembers || strings.ContainsAny(text, "\x00") {
			return
		}
		if rest != "" && strings.Count(text, "e")+strings.Count(text, "E") == 0 { // numbers beyond what a float takes
			t.Fatalf("%q: %q is left of an object that is JSON", text, rest)
		}
		for key := range want {
			if _, ok := got.open[0][key]; !ok && rest == "" {
				t.Fatalf("%q: %q is not there", text, key)
			}
		}
	})
}
