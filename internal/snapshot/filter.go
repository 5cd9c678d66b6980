package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// FilterBlock is how many words stand together: all bits of an identity are in one block.
const FilterBlock = blockBytes / 8

// DescribeFilter fills in the part of the filters: for each table, by kind, the words of
// one, a multiple of [FilterBlock], or none.
func (m *Manifest) DescribeFilter(filters [][Kinds][]uint64) error {
	for i := range m.Tables {
		for k, words := range filters[i] {
			m.Tables[i].Blocks[k] = uint32(len(words) / FilterBlock)
		}
	}
	sum := sha256.New()
	n, err := writeFilter(sum, filters)
	m.Filter = Part{Size: n, Sum: [sha256.Size]byte(sum.Sum(nil))}
	return err
}

// WriteFilter writes the part that [Manifest.DescribeFilter] has described.
func WriteFilter(w io.Writer, filters [][Kinds][]uint64) error {
	_, err := writeFilter(w, filters)
	return err
}

func writeFilter(w io.Writer, filters [][Kinds][]uint64) (n uint64, err error) {
	buf := make([]byte, 0, 64<<10)
	flush := func() {
		if err == nil {
			_, err = w.Write(buf)
		}
		n += uint64(len(buf))
		buf = buf[:0]
	}
	for i := range filters {
		for _, words := range filters[i] {
			for _, x := range words {
				if buf = binary.LittleEndian.AppendUint64(buf, x); len(buf) == cap(buf) {
					flush()
				}
			}
		}
	}
	flush()
	return n, err
}

// ReadFilter reads the part with the filters, and not a byte more.
func (m *Manifest) ReadFilter(r io.Reader) ([][Kinds][]uint64, error) {
	d := partReader{r: r, left: m.Filter.Size, sum: sha256.New(), what: "filters"}
	filters := make([][Kinds][]uint64, len(m.Tables))
	for i := range m.Tables {
		for k, blocks := range m.Tables[i].Blocks {
			left := int(blocks) * FilterBlock
			// As much as came, twice over: who declares much and sends little gets little.
			words := make([]uint64, 0, min(left, 1<<16))
			for ; left > 0; left -= FilterBlock {
				b := d.next(blockBytes)
				if d.err != nil {
					return nil, d.err
				}
				if len(words)+FilterBlock > cap(words) {
					grown := make([]uint64, len(words), min(2*cap(words), len(words)+left))
					copy(grown, words)
					words = grown
				}
				for j := range FilterBlock {
					words = append(words, binary.LittleEndian.Uint64(b[8*j:]))
				}
			}
			if len(words) > 0 {
				filters[i][k] = words
			}
		}
	}
	if err := d.end(m.Filter.Sum); err != nil {
		return nil, err
	}
	return filters, nil
}
