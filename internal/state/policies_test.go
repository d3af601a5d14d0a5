package state

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/sampling"
)

var quiet = slog.New(slog.DiscardHandler)

func rule(service string, base float64) sampling.Rule {
	return sampling.Rule{Service: service, Policy: sampling.Policy{Base: &base}}
}

func put(t *testing.T, p *Policies, tenant string, r sampling.Rule) {
	t.Helper()
	if err := p.Put(tenant, r); err != nil {
		t.Fatal(err)
	}
}

func TestPoliciesAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "state")
	p := OpenPolicies(dir, quiet)
	put(t, p, "0", rule("order", 0.5))
	put(t, p, "0", rule("default", 0.1))
	put(t, p, "7:1", rule("order", 0.2))
	put(t, p, "0", rule("order", 0.25))
	if found, err := p.Delete("0", "default", ""); !found || err != nil {
		t.Errorf("delete: %v, %v", found, err)
	}
	if found, err := p.Delete("0", "default", ""); found || err != nil {
		t.Errorf("delete again: %v, %v", found, err)
	}
	again := OpenPolicies(dir, quiet)
	for _, p := range []*Policies{p, again} {
		if diff := cmp.Diff(sampling.Set{rule("order", 0.25)}, p.List("0")); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(sampling.Set{rule("order", 0.2)}, p.List("7:1")); diff != "" {
			t.Error(diff)
		}
		if p.List("1") != nil || p.Stats() != (PoliciesStats{2, 0}) {
			t.Errorf("%v, %+v", p.List("1"), p.Stats())
		}
	}
	if names, _ := filepath.Glob(dir + "/*"); len(names) != 1 {
		t.Errorf("files %v", names)
	}
}

func TestDamagedPoliciesArePutAside(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "garbage": "{", "cut": `{"version":1,"tenants":{"0":[{"serv`, "version": `{"version":2,"tenants":{}}`, "more": `{"version":1,"tenants":{}}{}`,
		"policy": `{"version":1,"tenants":{"0":[{"service":"a","policy":{"base":7}}]}}`, "twice": `{"version":1,"tenants":{"0":[{"service":"a"},{"service":"a"}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var log strings.Builder
			for n := 1; n <= 2; n++ {
				if err := os.WriteFile(filepath.Join(dir, policiesFile), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				p := OpenPolicies(dir, slog.New(slog.NewTextHandler(&log, nil)))
				if p.Stats() != (PoliciesStats{0, 1}) || strings.Count(log.String(), "level=ERROR") != n {
					t.Errorf("%+v, log %s", p.Stats(), log.String())
				}
				aside := filepath.Join(dir, fmt.Sprintf("%s.damaged-%d", policiesFile, n))
				if kept, err := os.ReadFile(aside); err != nil || string(kept) != text || !strings.Contains(log.String(), aside) {
					t.Errorf("put aside: %q, %v", kept, err)
				}
				put(t, p, "0", rule("order", 0.5)) // it goes on
			}
		})
	}
}

// A file that can be neither read nor moved is not written over.
func TestUnreadablePoliciesAreNotReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, policiesFile)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 100; n++ { // all names are taken
		if err := os.WriteFile(fmt.Sprintf("%s.damaged-%d", path, n), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := OpenPolicies(dir, quiet)
	if err := p.Put("0", rule("order", 0.5)); !errors.Is(err, ErrNotSaved) || !strings.Contains(err.Error(), "remove them") {
		t.Errorf("put: %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "precious" || p.List("0") != nil {
		t.Errorf("the file is %q, %v; there are %v", text, err, p.List("0"))
	}
}

func TestPoliciesThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	p := OpenPolicies(dir, quiet)
	put(t, p, "0", rule("order", 0.5))
	// Whatever is in the way of the new file.
	if err := os.Mkdir(filepath.Join(dir, policiesFile+".tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := p.Put("0", rule("order", 0.9)); !errors.Is(err, ErrNotSaved) {
		t.Errorf("put: %v", err)
	}
	if found, err := p.Delete("0", "order", ""); !found || !errors.Is(err, ErrNotSaved) {
		t.Errorf("delete: %v, %v", found, err)
	}
	for _, p := range []*Policies{p, OpenPolicies(dir, quiet)} {
		if diff := cmp.Diff(sampling.Set{rule("order", 0.5)}, p.List("0")); diff != "" {
			t.Error(diff)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := OpenPolicies(filepath.Join(file, "state"), quiet).Put("0", rule("a", 1)); !errors.Is(err, ErrNotSaved) {
		t.Errorf("put into no folder: %v", err)
	}
}

func TestPoliciesAreBounded(t *testing.T) {
	p := OpenPolicies(t.TempDir(), quiet)
	full := map[string]sampling.Set{}
	for i := range MaxPolicies {
		tenant := fmt.Sprint(i % 10)
		full[tenant] = full[tenant].With(rule(fmt.Sprint("s", i), 0.5))
	}
	p.byTenant.Store(&full)
	if err := p.Put("0", rule("one more", 1)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	put(t, p, "0", rule("s10", 0.25)) // one that is there may change
	if err := p.Put("0", rule("", 1)); !errors.As(err, new(sampling.Invalid)) {
		t.Errorf("without a service: %v", err)
	}
}

// What was accepted is there after a restart: a file that would be too long to be
// read is not written.
func TestPoliciesFileIsBounded(t *testing.T) {
	p := OpenPolicies(t.TempDir(), quiet)
	full := rule("", 0.5)
	full.Policy.Critical = []string{strings.Repeat("x", maxPoliciesFile/(MaxPolicies-1))}
	all := make([]sampling.Rule, MaxPolicies-1)
	for i := range all {
		all[i] = full
		all[i].Service = fmt.Sprint("s", i)
	}
	before := map[string]sampling.Set{"1": all}
	p.byTenant.Store(&before)
	if err := p.Put("0", rule("order", 0.5)); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("put: %v", err)
	}
	if _, err := os.Stat(p.path); !errors.Is(err, os.ErrNotExist) || p.List("0") != nil {
		t.Errorf("the file is there: %v; policies %v", err, p.List("0"))
	}
}

// A file that cannot be read may be well, and is all that there is.
func TestPoliciesThatCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"too long": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxPoliciesFile+1))
		},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, policiesFile)
		if err := spoil(path); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		p := OpenPolicies(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err := p.Put("0", rule("order", 0.5)); !errors.Is(err, ErrNotSaved) || !strings.Contains(err.Error(), "cannot be read") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: put: %v", name, err)
		}
		if p.Stats() != (PoliciesStats{0, 1}) || strings.Count(log.String(), "level=ERROR") != 1 {
			t.Errorf("%s: %+v, log %s", name, p.Stats(), log.String())
		}
		if names, _ := filepath.Glob(dir + "/*"); len(names) != 1 || names[0] != path {
			t.Errorf("%s: files %v", name, names)
		}
	}
}

func TestPoliciesChangeConcurrently(t *testing.T) {
	dir := t.TempDir()
	p := OpenPolicies(dir, quiet)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 10 {
				if err := p.Put("0", rule(fmt.Sprint("s", i, n), 0.5)); err != nil {
					t.Error(err)
				}
				p.List("0").Match("s", "")
			}
		})
	}
	wg.Wait()
	if got := len(OpenPolicies(dir, quiet).List("0")); got != 40 {
		t.Errorf("%d of 40 are on the disk", got)
	}
}

func FuzzDecodePolicies(f *testing.F) {
	f.Add([]byte(`{"version":1,"tenants":{"0":[{"service":"a","environment":"b","policy":{"base":0.5},"updated":"2026-01-02T03:04:05Z"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		byTenant, err := decodePolicies(text)
		if err != nil {
			return
		}
		for _, set := range byTenant {
			for _, r := range set {
				if got, ok := set.Match(r.Service, r.Environment); !ok || got.Service != r.Service || r.Validate() != nil {
					t.Errorf("%+v is not found, or not valid", r)
				}
			}
		}
	})
}
