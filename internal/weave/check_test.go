package weave

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestFindMark(t *testing.T) {
	text, err := json.Marshal(Mark{Version: 1, Go: "go1.26.8", Woven: []Woven{{Aspect: "gin"}}})
	if err != nil {
		t.Fatal(err)
	}
	whole := Marker + string(text) + "\x00"
	for _, tt := range []struct {
		name, binary string
		want         bool
	}{
		{"empty", "", false},
		{"nothing", "something else\x00", false},
		{"whole", "before" + whole + "behind", true},
		{"behind the beginning of another", Marker + Marker + "{\x00" + whole, true},
		{"not a word of ours", Marker + "{}\x00", false},
		{"a form of the future", Marker + `{"v":2}` + "\x00", false},
		{"cut off", whole[:len(whole)-10], false},
	} {
		m, ok := findMark([]byte(tt.binary))
		if ok != tt.want || ok && (m.Go != "go1.26.8" || !carries(m, "gin")) {
			t.Errorf("%s: got %+v, %v", tt.name, m, ok)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(name, []byte(Marker), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(name); err == nil {
		t.Error("a text is a binary")
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if m, err := Check(own); !errors.Is(err, ErrNotWoven) {
		t.Errorf("this test is woven: %+v, %v", m, err)
	}
}

func FuzzFindMark(f *testing.F) {
	f.Add([]byte(Marker + `{"v":1}` + "\x00"))
	f.Add([]byte(Marker + Marker))
	f.Fuzz(func(t *testing.T, binary []byte) {
		if m, ok := findMark(binary); ok && (m.Version != 1 || !bytes.Contains(binary, []byte(Marker))) {
			t.Errorf("got %+v", m)
		}
	})
}

// What is read of a user's file is a good aspect, or an error.
func FuzzReadAspect(f *testing.F) {
	f.Add([]byte(rules))
	f.Add([]byte("name: x\npackages: [{path: p, points: [{func: f, entry: g()}]}]\n"))
	f.Add([]byte("name: x\npackages: [{path: p, versions: '>=v1.0.0 <v', points: [{type: t, code: \"a\\nb\"}]}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := readAspect(fstest.MapFS{aspectFile: {Data: text}, "more.go": {Data: []byte(moreText)}}, ".")
		if err != nil {
			return
		}
		if err := a.check(); err != nil {
			t.Error(err)
		}
		for _, p := range a.Packages {
			tested(p.Versions, "v1.2.3")
			for _, pt := range p.Points {
				pt.counts("go1.26.8")
				pt.counts("v1.2.3")
			}
		}
	})
}
