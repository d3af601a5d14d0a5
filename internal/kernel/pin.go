//go:build linux

package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// DefaultPins is where pins lie unless somebody says otherwise.
const DefaultPins = "/sys/fs/bpf/guanlan"

// ErrPinsInUse says that another process has the pins of a folder.
var ErrPinsInUse = errors.New("another agent has them: stop it, or choose another folder")

// Pins is a folder of a BPF file system in which objects outlive the process:
// FEATURE/OBJECT/{map,prog,link}_NAME, where OBJECT is a digest of code, sizes and
// constants. The next process takes over what has its own digest, and goes on where the
// last one stopped; what has another is removed. One process at a time has the
// folder, by a lock that ends with it.
type Pins struct {
	dir  string
	lock *os.File
}

// OpenPins makes the folder, "" for DefaultPins, and locks it. It answers *Unsupported where there
// is no BPF file system, and ErrPinsInUse.
func OpenPins(dir string) (*Pins, error) {
	if dir == "" {
		dir = DefaultPins
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open pins: %w", err)
	}
	if err := onBPF(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Classify("pinning", fmt.Errorf("make folder of pins: %w", err))
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, Classify("pinning", fmt.Errorf("open pins: %w", err))
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrPinsInUse
		}
		return nil, fmt.Errorf("lock pins in %s: %w", dir, err)
	}
	return &Pins{dir, lock}, nil
}

// onBPF finds out whether dir, or the nearest folder above it that exists, is of a BPF file system.
func onBPF(dir string) error {
	var st unix.Statfs_t
	for at := dir; ; at = filepath.Dir(at) {
		err := unix.Statfs(at, &st)
		if errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at) {
			continue
		}
		if err != nil {
			return Classify("pinning", fmt.Errorf("look at %s: %w", at, err))
		}
		if st.Type != unix.BPF_FS_MAGIC {
			return &Unsupported{Feature: "pinning", Missing: "a BPF file system at " + dir,
				Next: "mount one: mount -t bpf bpf /sys/fs/bpf"}
		}
		return nil
	}
}

// Dir is the folder.
func (p *Pins) Dir() string { return p.dir }

// Keep removes the pins of all features but these.
func (p *Pins) Keep(features ...string) error {
	own, err := p.features()
	var errs []error
	for _, name := range own {
		if !slices.Contains(features, name) {
			errs = append(errs, removePins(filepath.Join(p.dir, name)))
		}
	}
	return errors.Join(append(errs, err)...)
}

// features are the folders in use. What others pinned beside them is left alone.
func (p *Pins) features() (names []string, err error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, fmt.Errorf("list pins: %w", err)
	}
	for _, e := range entries {
		inside, err := os.ReadDir(filepath.Join(p.dir, e.Name()))
		if err == nil && !slices.ContainsFunc(inside, func(i fs.DirEntry) bool { return !isDigest(i) }) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func isDigest(e fs.DirEntry) bool {
	b, err := hex.DecodeString(e.Name())
	return err == nil && len(b) == digestSize && e.IsDir()
}

// Close gives up the lock. What is pinned goes on.
func (p *Pins) Close() error { return p.lock.Close() }

// Remove takes all pins away, which detaches what nobody else holds, and the
// folder, and gives up the lock. It says how many files there were.
func (p *Pins) Remove() (n int, err error) {
	own, err := p.features()
	for _, name := range own {
		_ = filepath.WalkDir(filepath.Join(p.dir, name), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				n++
			}
			return nil
		})
	}
	err = errors.Join(err, p.Keep())
	_ = os.Remove(p.dir) // unless there is more in it
	return n, errors.Join(err, p.Close())
}

// Unpin removes all pins of a folder and says how many there were; none if there is no such folder.
func Unpin(dir string) (int, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	p, err := OpenPins(dir)
	if err != nil {
		return 0, err
	}
	return p.Remove()
}

func removePins(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}

// digestSize is short enough to read and long enough for the objects of one machine.
const digestSize = 8

// pinFormat changes when what is in pinned maps changes its meaning for user space.
const pinFormat = 1

// object finds the folder of one object, and removes those of others of the feature.
func (p *Pins) object(feature, digest string) (string, error) {
	dir := filepath.Join(p.dir, feature, digest)
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("list pins of %s: %w", feature, err)
	}
	for _, e := range entries {
		if e.Name() != digest && isDigest(e) {
			if err := removePins(filepath.Join(filepath.Dir(dir), e.Name())); err != nil {
				return "", err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", Classify(feature+": pins", fmt.Errorf("make folder of pins: %w", err))
	}
	return dir, nil
}

// digest names an object: its code, the sizes of its maps, its constants and what
// else decides which of its programs run.
func digest(spec *ebpf.CollectionSpec, code []byte, variant string) string {
	h := sha256.New()
	fmt.Fprintln(h, pinFormat, variant, len(code))
	h.Write(code)
	for _, name := range slices.Sorted(maps.Keys(spec.Maps)) {
		m := spec.Maps[name]
		fmt.Fprintln(h, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		if constants(name) {
			for _, c := range m.Contents {
				fmt.Fprintf(h, "%v %x\n", c.Key, c.Value)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:digestSize])
}

// constants are made anew by each process: the digest holds for their contents.
func constants(mapName string) bool { return strings.HasPrefix(mapName, ".rodata") }

// pinName is a path for a map, program or link. BPF file systems take no dots in names.
func pinName(dir, kind, name string) string {
	return filepath.Join(dir, kind+strings.ReplaceAll(name, ".", "_"))
}

const (
	mapPin, programPin, linkPin = "map_", "prog_", "link_"

	// ledgerName is of a map that only user space uses: what the process that
	// has the object told of it so far, for its successor. It is pinned last of the maps.
	ledgerName  = "ledger"
	ledgerSlots = 8
	// Slots of the ledger. Features have those below lossSlot.
	lossSlot = ledgerSlots - 1
)

// LoadPinned is Load for an object that outlives the process where the host has
// pins; code is the compiled object, variant what decides, besides spec, which
// programs are attached. Maps that are pinned are taken over, and Adopted tells; so are,
// by Tracing, Cgroup and Attach, programs with their links.
func LoadPinned(feature string, h *Host, spec *ebpf.CollectionSpec, code []byte, variant string) (*Object, error) {
	if h.pins == nil {
		return Load(feature, h, spec)
	}
	spec.Maps[ledgerName] = &ebpf.MapSpec{Name: ledgerName, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: ledgerSlots, Flags: unix.BPF_F_MMAPABLE}
	dir, err := h.pins.object(feature, digest(spec, code, variant))
	if err != nil {
		return nil, err
	}
	held, err := pinnedMaps(spec, dir)
	defer func() {
		for _, m := range held {
			_ = m.Close()
		}
	}()
	if err != nil {
		return nil, Classify(feature+": pins", err)
	}
	if held == nil {
		// Nothing, or what a process left that was killed while it pinned.
		if err := removePins(dir); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, Classify(feature+": pins", fmt.Errorf("make folder of pins: %w", err))
		}
	}
	o, err := load(feature, h, spec, held)
	if err != nil {
		return nil, err
	}
	o.pins, o.adopted = dir, held != nil
	if !o.adopted {
		err = o.pinMaps()
	}
	if err == nil {
		o.ledger, err = o.maps[ledgerName].Memory()
	}
	if err != nil {
		return nil, errors.Join(Classify(feature+": pins", fmt.Errorf("pin maps of %s: %w", feature, err)), o.Close())
	}
	o.known = o.Ledger(lossSlot)
	return o, nil
}

// pinnedMaps opens all maps of an object, or none.
func pinnedMaps(spec *ebpf.CollectionSpec, dir string) (map[string]*ebpf.Map, error) {
	held := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if constants(name) {
			continue
		}
		m, err := ebpf.LoadPinnedMap(pinName(dir, mapPin, name), nil)
		if err != nil {
			for _, m := range held {
				_ = m.Close()
			}
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return nil, err
		}
		held[name] = m
	}
	return held, nil
}

func (o *Object) pinMaps() error {
	var names []string
	for name := range o.maps {
		if !constants(name) && name != ledgerName {
			names = append(names, name)
		}
	}
	for _, name := range append(names, ledgerName) {
		if err := o.maps[name].Pin(pinName(o.pins, mapPin, name)); err != nil {
			return err
		}
	}
	return nil
}

// Pinned reports whether the object outlives the process.
func (o *Object) Pinned() bool { return o.pins != "" }

// Adopted reports whether the object is a former process's: its maps hold what it left.
func (o *Object) Adopted() bool { return o.adopted }

// Ledger reads what a process wrote into a slot of the object's ledger; 0 without pins.
func (o *Object) Ledger(slot int) uint64 {
	var b [8]byte
	if o.ledger != nil {
		_, _ = o.ledger.ReadAt(b[:], int64(slot)*8) // within bounds
	}
	return binary.NativeEndian.Uint64(b[:])
}

// Note writes a slot of the ledger: a store to memory that outlives the process.
// Without pins it does nothing.
func (o *Object) Note(slot int, v uint64) {
	if o.ledger != nil {
		_, _ = o.ledger.WriteAt(binary.NativeEndian.AppendUint64(nil, v), int64(slot)*8)
	}
}

// adoptLink takes over a link and its program if both are pinned.
func (o *Object) adoptLink(name string) (bool, error) {
	if !o.adopted {
		return false, nil
	}
	l, err := link.LoadPinnedLink(pinName(o.pins, linkPin, name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, Classify(o.feature+": "+name, fmt.Errorf("take over link of %s: %w", name, err))
	}
	p, err := ebpf.LoadPinnedProgram(pinName(o.pins, programPin, name), nil)
	if err != nil {
		return false, errors.Join(Classify(o.feature+": "+name, fmt.Errorf("take over program %s: %w", name, err)), l.Close())
	}
	o.Keep(l)
	return true, o.own(name, p)
}

// pinLink makes a link outlive the process, the program first: a link without it is never found.
func (o *Object) pinLink(name string, p *ebpf.Program, l link.Link) error {
	if o.pins == "" {
		return nil
	}
	at := pinName(o.pins, programPin, name)
	_ = os.Remove(at) // of a process that was killed between the two
	err := p.Pin(at)
	if err == nil {
		err = l.Pin(pinName(o.pins, linkPin, name))
	}
	if err != nil {
		return Classify(o.feature+": "+name, fmt.Errorf("pin link of %s: %w", name, err))
	}
	return nil
}
