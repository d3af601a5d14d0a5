package symbol

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
)

// maxHeaders bounds what the headers of a file may take, names of sections included: some
// hundred sections, of which programs have some forty. A file says by itself how
// large they are, holes cost it nothing, and debug/elf reads and copies all.
const maxHeaders = 32 << 10

// ReadELF reads the headers of a file that anybody may have made. One whose sections
// are too many, or broken, is read as if it had none.
func ReadELF(r io.ReaderAt) (*elf.File, error) {
	whole := &headerReader{r: r, left: maxHeaders}
	f, err := elf.NewFile(whole)
	if err != nil {
		whole = &headerReader{r: r, left: maxHeaders, hide: true}
		if f, err = elf.NewFile(whole); err != nil {
			return nil, fmt.Errorf("read ELF headers: %w", err)
		}
	}
	whole.open = true // what is read from now on is bounded where it is read
	return f, nil
}

var errHeaders = errors.New("headers are too large")

// headerReader ends after so many bytes, and may hide that there are sections.
type headerReader struct {
	r    io.ReaderAt
	left int
	hide bool
	open bool // all is read, and nothing bounded
}

func (h *headerReader) ReadAt(b []byte, off int64) (int, error) {
	if h.open {
		return h.r.ReadAt(b, off)
	}
	if h.left -= len(b); h.left < 0 {
		return 0, errHeaders
	}
	n, err := h.r.ReadAt(b, off)
	if h.hide && n > 4 {
		// e_shoff, and e_shnum with e_shstrndx, of 64-bit files and of others.
		at := [][2]int64{{0x28, 0x30}, {0x3c, 0x40}}
		if off == 0 && b[elf.EI_CLASS] == byte(elf.ELFCLASS32) {
			at = [][2]int64{{0x20, 0x24}, {0x30, 0x34}}
		}
		for _, a := range at {
			for i := max(a[0], off); i < min(a[1], off+int64(n)); i++ {
				b[i-off] = 0
			}
		}
	}
	return n, err
}
