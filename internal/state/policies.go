// Package state keeps what users set while Guanlan runs: small files in the
// data folder, each replaced as a whole.
package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/guanlan-io/guanlan/internal/durable"
	"github.com/guanlan-io/guanlan/internal/sampling"
)

// Errors of a change. After either, what held before holds on.
var (
	// ErrFull: there are MaxPolicies already, or so many of such size that
	// their file would be longer than one may be.
	ErrFull = errors.New("too many sampling policies")
	// ErrNotSaved: the file could not be written; the text says why.
	ErrNotSaved = errors.New("the sampling policies could not be saved")
)

const (
	policiesFile = "sampling.json"
	// policiesVersion is the form of the file that this code writes and reads.
	policiesVersion = 1
	// MaxPolicies is how many there are of all tenants together: the file is
	// written anew with every change.
	MaxPolicies = 1000
	// maxPoliciesFile is what that many policies of full size would take,
	// written without spaces: with them, some fewer fit. A longer file is not
	// written, and none of ours.
	maxPoliciesFile = MaxPolicies * (sampling.MaxBody + 1<<10)
)

// Policies keeps sampling policies by tenant. Readers take no lock.
type Policies struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex // of changes
	byTenant atomic.Pointer[map[string]sampling.Set]
	blocked  error // why nothing may be written: it would destroy what cannot be read
	damaged  int
}

// policiesDocument is the file.
type policiesDocument struct {
	Version int                        `json:"version"`
	Tenants map[string][]sampling.Rule `json:"tenants"`
}

// OpenPolicies reads the policies in a folder, which it makes. A file that is
// damaged does not keep Guanlan from running: it is put aside under another
// name, the log says so, and services get the default policy until somebody
// puts it right. One that cannot be read, as when the disk fails, may be well:
// it stays where it is, and policies cannot be changed before the next start.
func OpenPolicies(dir string, log *slog.Logger) *Policies {
	p := &Policies{path: filepath.Join(dir, policiesFile), log: log}
	p.byTenant.Store(&map[string]sampling.Set{})
	if err := os.MkdirAll(dir, 0o750); err != nil {
		p.blocked = fmt.Errorf("make folder: %w", err)
		log.Error("sampling policies cannot be kept", "error", p.blocked)
		return p
	}
	text, err := readPolicies(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p
	case err != nil:
		p.damaged = 1
		p.blocked = fmt.Errorf("what is there cannot be read: %w; put it right and start Guanlan again", err)
		log.Error("the sampling policies cannot be read; all services get the default policy, and none can be set. Put the file right and start Guanlan again",
			"error", err, "file", p.path)
		return p
	}
	read, err := decodePolicies(text)
	if err != nil {
		p.damaged = 1
		p.putAside(fmt.Errorf("read %q: %w", p.path, err))
		return p
	}
	p.byTenant.Store(&read)
	return p
}

// putAside renames a file that cannot be used. Its successors do not replace
// it.
func (p *Policies) putAside(why error) {
	const most = 100 // somebody damages the file again and again: the newest are no news
	for n := 1; n <= most; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", p.path, n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(p.path, aside); err != nil {
			p.blocked = fmt.Errorf("put %q aside: %w", p.path, err)
			break
		}
		p.log.Error("the sampling policies cannot be read; all services get the default policy. Mend the file, stop Guanlan, and move it back",
			"error", why, "file", aside, "belongs", p.path)
		return
	}
	if p.blocked == nil {
		p.blocked = fmt.Errorf("%d damaged files lie beside %q already: remove them", most, p.path)
	}
	p.log.Error("the sampling policies can be neither read nor put aside; all services get the default policy, and none can be set", "error", errors.Join(why, p.blocked))
}

func readPolicies(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxPoliciesFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPoliciesFile {
		return nil, fmt.Errorf("read %q: longer than %d bytes", path, maxPoliciesFile)
	}
	return text, nil
}

func decodePolicies(text []byte) (map[string]sampling.Set, error) {
	var d policiesDocument
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&d); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the policies")
	}
	if d.Version != policiesVersion {
		return nil, fmt.Errorf("version %d: this Guanlan knows %d", d.Version, policiesVersion)
	}
	byTenant := map[string]sampling.Set{}
	for tenant, rules := range d.Tenants {
		set, err := sampling.NewSet(rules)
		if err != nil {
			return nil, fmt.Errorf("tenant %q: %w", tenant, err)
		}
		byTenant[tenant] = set
	}
	return byTenant, nil
}

// List is all policies of a tenant.
func (p *Policies) List(tenant string) sampling.Set { return (*p.byTenant.Load())[tenant] }

// Put adds a rule or replaces the one for the same service and environment.
// When it returns nil, the rule is on the disk.
func (p *Policies) Put(tenant string, r sampling.Rule) error {
	if err := r.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	set := p.List(tenant)
	if _, there := set.Get(r.Service, r.Environment); !there && p.count() >= MaxPolicies {
		return fmt.Errorf("%w: there may be %d; delete one first", ErrFull, MaxPolicies)
	}
	return p.change(tenant, set.With(r))
}

// Delete removes the rule for a service and environment; false when there is
// none.
func (p *Policies) Delete(tenant, service, environment string) (found bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set, found := p.List(tenant).Without(service, environment)
	if !found {
		return false, nil
	}
	return true, p.change(tenant, set)
}

// change writes the file and then lets readers see; mu is held.
func (p *Policies) change(tenant string, set sampling.Set) error {
	if p.blocked != nil {
		return fmt.Errorf("%w: %w", ErrNotSaved, p.blocked)
	}
	next := maps.Clone(*p.byTenant.Load())
	if next[tenant] = set; len(set) == 0 {
		delete(next, tenant)
	}
	d := policiesDocument{Version: policiesVersion, Tenants: map[string][]sampling.Rule{}}
	for name, rules := range next {
		d.Tenants[name] = rules
	}
	text, err := json.MarshalIndent(d, "", "  ")
	text = append(text, '\n')
	if err == nil && len(text) > maxPoliciesFile {
		return fmt.Errorf("%w: their file would be longer than %d bytes; delete one, or make one smaller, first", ErrFull, maxPoliciesFile)
	}
	if err == nil {
		err = durable.Replace(p.path, text)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	p.byTenant.Store(&next)
	return nil
}

func (p *Policies) count() (n int) {
	for _, set := range *p.byTenant.Load() {
		n += len(set)
	}
	return n
}

// PoliciesStats tells how many there are, and how many files could not be read
// at the start.
type PoliciesStats struct {
	Policies, Damaged int
}

// Stats counts.
func (p *Policies) Stats() PoliciesStats { return PoliciesStats{p.count(), p.damaged} }
