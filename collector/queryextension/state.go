package queryextension

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sort"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/guanlan-io/guanlan/collector/storeextension"
	"github.com/guanlan-io/guanlan/internal/api"
	"github.com/guanlan-io/guanlan/internal/footprint"
)

// Summary is what a user wants to know once everything runs. A field is empty
// where there is nothing to tell.
type Summary struct {
	URL       string // of the UI and all APIs
	OTLPGRPC  string // address
	OTLPHTTP  string // address
	Data      string // folder, and how long what is kept
	LastCrash string // when and how a run of the last day ended, if not in order
}

// state is what the process knows of itself, for the status page and the first
// screen.
type state struct {
	mu        sync.Mutex
	store     storeextension.Store
	build     component.BuildInfo
	started   time.Time
	ready     bool
	query     string
	listeners []api.Listener
}

func (s *state) begin(st storeextension.Store, build component.BuildInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store, s.build, s.started = st, build, time.Now()
}

func (s *state) open(query string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.query = true, query
}

func (s *state) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = false
}

func (s *state) readiness() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return errors.New("pipelines are not running")
	}
	return nil
}

// Names of the listeners that the first screen looks for.
const (
	otlpGRPC = "OTLP/gRPC"
	otlpHTTP = "OTLP/HTTP"
)

// learn reads from the effective configuration where receivers listen.
func (s *state) learn(conf *confmap.Conf) {
	receivers, _ := conf.ToStringMap()["receivers"].(map[string]any)
	var found []api.Listener
	for id, r := range receivers {
		name, _, _ := strings.Cut(id, "/")
		fields, _ := r.(map[string]any)
		protocols, _ := fields["protocols"].(map[string]any)
		for protocol, p := range protocols {
			if address := endpoint(p); address != "" {
				label := id + " " + protocol
				if name == "otlp" {
					label = map[string]string{"grpc": otlpGRPC, "http": otlpHTTP}[protocol]
				}
				found = append(found, api.Listener{Name: label, Address: address})
			}
		}
		if address := endpoint(r); address != "" {
			found = append(found, api.Listener{Name: id, Address: address})
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Name < found[j].Name })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = found
}

func endpoint(v any) string {
	fields, _ := v.(map[string]any)
	address, _ := fields["endpoint"].(string)
	return address
}

func (s *state) listener(name string) string {
	for _, l := range s.listeners {
		if l.Name == name {
			return l.Address
		}
	}
	return ""
}

func (s *state) summary() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.store.Config()
	crash := ""
	if e := s.store.Events().Stats(); e.LastCrash != "" {
		crash = e.CrashedAt.Format(time.DateTime) + "  " + firstLine(e.LastCrash)
	}
	return Summary{
		URL:      "http://" + s.query,
		OTLPGRPC: s.listener(otlpGRPC),
		OTLPHTTP: s.listener(otlpHTTP),
		Data: c.Directory + "  (traces " + c.Traces.Age.String() + ", logs " + c.Logs.Age.String() +
			", metrics " + c.Metrics.Age.String() + ", profiles " + c.Profiles.Age.String() + ")",
		LastCrash: crash,
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// Status tells the state of the process; it implements api.StatusSource.
func (s *state) Status(context.Context) (*api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, e, m, p := s.store.Config(), s.store.Events().Stats(), s.store.Metrics().Stats(), s.store.Profiles().Stats()
	folder, err := filepath.Abs(c.Directory)
	if err != nil {
		folder = c.Directory
	}
	st := &api.Status{
		Version:    s.build.Version,
		Commit:     revision(),
		GoVersion:  runtime.Version(),
		Started:    s.started,
		UptimeNs:   int64(time.Since(s.started)),
		Ready:      s.ready,
		DataFolder: folder,
		Listeners:  append([]api.Listener{{Name: "UI, APIs", Address: s.query}}, s.listeners...),
		Stores: []api.Store{
			{Signal: "traces", Bytes: e.Traces.Bytes, Rows: e.Traces.Rows, Oldest: e.Traces.Oldest, Newest: e.Traces.Newest, RetentionNs: int64(c.Traces.Age), RetentionBytes: uint64(c.Traces.MaxSize)},
			{Signal: "logs", Bytes: e.Logs.Bytes, Rows: e.Logs.Rows, Oldest: e.Logs.Oldest, Newest: e.Logs.Newest, RetentionNs: int64(c.Logs.Age), RetentionBytes: uint64(c.Logs.MaxSize)},
			{Signal: "metrics", Bytes: uint64(m.BlockBytes + m.WALBytes + m.HeadChunkBytes), Rows: m.Appended, RetentionNs: int64(c.Metrics.Age), RetentionBytes: uint64(c.Metrics.MaxSize)},
			{Signal: "profiles", Bytes: uint64(p.Bytes), Rows: p.Profiles, Oldest: p.Oldest, Newest: p.Newest, RetentionNs: int64(c.Profiles.Age), RetentionBytes: uint64(c.Profiles.MaxSize)},
		},
		Memory: memory(),
		Disk:   api.Disk{FreeBytes: e.DiskFree, TotalBytes: e.DiskTotal},
		Journal: api.Journal{
			Bytes:    uint64(e.Traces.Journal.Bytes + e.Logs.Journal.Bytes + p.Journal.Bytes),
			Segments: e.Traces.Journal.Segments + e.Logs.Journal.Segments + p.Journal.Segments,
			Replayed: e.Recovery.ReplayedBatches + p.Replayed,
			Broken:   e.Traces.Journal.Damaged + e.Traces.Journal.Torn + e.Logs.Journal.Damaged + e.Logs.Journal.Torn + p.Journal.Damaged + p.Journal.Torn,
		},
		Drops: []api.Drop{},
	}
	drop := func(signal, reason string, n uint64) {
		if n > 0 {
			st.Drops = append(st.Drops, api.Drop{Signal: signal, Reason: reason, Count: n})
		}
	}
	drop("traces", "too_old_or_too_large", e.Traces.RowsDropped+e.Traces.RowsLate+e.Traces.RowsEarly)
	drop("logs", "too_old_or_too_large", e.Logs.RowsDropped+e.Logs.RowsLate+e.Logs.RowsEarly)
	drop("profiles", "too_old", p.Late)
	drop("profiles", "damaged", p.Damaged)
	for reason, n := range m.Rejected {
		drop("metrics", string(reason), n)
	}
	sort.Slice(st.Drops, func(i, j int) bool {
		a, b := st.Drops[i], st.Drops[j]
		return a.Signal+a.Reason < b.Signal+b.Reason
	})
	if e.LastCrash != "" {
		st.LastCrash = &api.Crash{Time: e.CrashedAt, Reason: firstLine(e.LastCrash), Detail: e.LastCrash}
	}
	return st, nil
}

// memory reads what the process uses.
func memory() api.Memory {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	m := api.Memory{HeapBytes: heap[0].Value.Uint64(), UsedBytes: footprint.Resident()}
	if limit := debug.SetMemoryLimit(-1); limit < 1<<60 {
		m.LimitBytes = uint64(limit)
	}
	return m
}

// revision is the commit this binary was built from, when Go recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, v := range info.Settings {
		if v.Key == "vcs.revision" {
			return v.Value
		}
	}
	return ""
}
