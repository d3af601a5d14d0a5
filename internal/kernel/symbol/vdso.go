package symbol

import (
	"bytes"
	"fmt"
	"os"
)

// vdsoName names the vdso in the table: it has no file.
const vdsoName = "[vdso]"

// vdso returns the code that the kernel maps into every process. All 64-bit
// processes have the same, ours too. It is held like any other binary.
func (t *Table) vdso() (*Binary, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock++
	if b := t.byBuild[content{id: vdsoName}]; b != nil {
		b.refs, b.used = b.refs+1, t.clock
		return b, nil
	}
	image, err := readVDSO()
	if err != nil {
		return nil, err
	}
	b, err := openBinary(&t.pages, bytes.NewReader(image), nil)
	if err != nil {
		return nil, fmt.Errorf("read vdso: %w", err)
	}
	b.BuildID, b.build, b.refs, b.used = vdsoName, content{id: vdsoName}, 1, t.clock
	t.byBuild[b.build] = b
	t.all[b] = struct{}{}
	return b, nil
}

func (t *Table) hold(b *Binary) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b.refs++
}

func readVDSO() ([]byte, error) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, fmt.Errorf("find vdso: %w", err)
	}
	defer f.Close()
	maps, err := parseMaps(f)
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		if m.Path != "[vdso]" {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, fmt.Errorf("read vdso: %w", err)
		}
		defer mem.Close()
		image := make([]byte, min(m.Limit-m.Start, 1<<20))
		if _, err := mem.ReadAt(image, int64(m.Start)); err != nil {
			return nil, fmt.Errorf("read vdso: %w", err)
		}
		return image, nil
	}
	return nil, fmt.Errorf("find vdso: %w", os.ErrNotExist)
}
