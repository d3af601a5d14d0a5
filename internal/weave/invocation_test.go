package weave

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct{ verb, args, flags, packages, rest string }{
		{"build", "-o x -race -tags a,b ./...", "-o=x -race -tags=a,b", "./...", ""},
		{"build", "-buildvcs=false -v -- -odd", "-buildvcs=false -v", "-odd", ""},
		{"run", "-exec env . -race x", "-exec=env", ".", "-race x"},
		{"run", "a.go b.go c", "", "a.go b.go", "c"},
		{"test", "-race ./a ./b -run X -tags t", "-race -run=X -tags=t", "./a ./b", ""},
		{"test", "-test.v -test.run X .", "-test.v -test.run=X", ".", ""},
		// A flag of the test's own ends the packages; what follows may be its value.
		{"test", "-update", "", "", "-update"},
		{"test", "-update ./a -v", "", "", "-update ./a -v"},
		{"test", "./a -update -v -tags t more -race", "-v -tags=t", "./a", "-update more -race"},
		{"test", "-v . -args -race", "-v", ".", "-args -race"},
	} {
		inv, err := parse(tt.verb, strings.Fields(tt.args))
		if err != nil {
			t.Errorf("%s %s: %v", tt.verb, tt.args, err)
			continue
		}
		for _, part := range []struct {
			got  []string
			want string
		}{{inv.flags, tt.flags}, {inv.packages, tt.packages}, {inv.rest, tt.rest}} {
			if got := strings.Join(part.got, " "); got != part.want {
				t.Errorf("%s %s: got %q, want %q", tt.verb, tt.args, got, part.want)
			}
		}
	}
	if _, err := parse("build", []string{"-tags"}); err == nil {
		t.Error("a flag without its value is taken")
	}
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                nil,
		" -a  -b=c ":                      {"-a", "-b=c"},
		"'-ldflags=-s -w' -trimpath":      {"-ldflags=-s -w", "-trimpath"},
		`"-overlay=/a b/it's.json" -race`: {"-overlay=/a b/it's.json", "-race"},
	} {
		got, err := splitWords(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
		joined, err := joinWords(want)
		if again, _ := splitWords(joined); err != nil || !slices.Equal(again, want) {
			t.Errorf("%q: joined %q, %v", want, joined, err)
		}
	}
	if _, err := splitWords("-a '-b"); err == nil {
		t.Error("an open quote is taken")
	}
	if _, err := joinWords([]string{`'"`}); err == nil {
		t.Error("what has both quotes is joined")
	}
}
