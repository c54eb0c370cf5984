//go:build isal

package igzip

/*
#cgo LDFLAGS: -lisal
#include <stdlib.h>
#include <isa-l/igzip_lib.h>

struct encoder {
	struct isal_zstream z;
	uint8_t buf[ISAL_DEF_LVL2_DEFAULT];
};

// forget leaves no pointer to Go's memory in C's, which cgo forbids after a call.
static uint32_t forget(struct isal_zstream *z, uint32_t size) {
	z->next_in = NULL;
	z->next_out = NULL;
	return size;
}

// append writes in[window:window+n] as whole blocks that end in a sync flush. It returns their
// size, which is less than room, or 0 if they do not fit.
static uint32_t append(struct encoder *e, uint8_t *in, uint32_t window, uint32_t n, uint8_t *out, uint32_t room) {
	struct isal_zstream *z = &e->z;
	isal_deflate_init(z);
	z->level = n < 32768 ? 1 : 2; // for less, level 2's table of 64 KiB would be most of the work
	z->level_buf = e->buf;
	z->level_buf_size = sizeof(e->buf);
	z->flush = SYNC_FLUSH;
	z->gzip_flag = IGZIP_DEFLATE;
	if (window > 0 && isal_deflate_set_dict(z, in, window) != COMP_OK)
		return forget(z, 0);
	z->next_in = in + window;
	z->avail_in = n;
	z->next_out = out;
	z->avail_out = room;
	if (isal_deflate(z) != COMP_OK || z->avail_in > 0 || z->avail_out == 0)
		return forget(z, 0);
	return forget(z, room - z->avail_out);
}
*/
import "C"

import (
	"runtime"
	"slices"
	"unsafe"

	"github.com/sealift/sealift/pkg/deflate"
)

// Encoder compresses blocks, one at a time, as deflate.Encoder does. It holds some 400 KB outside
// Go's heap. The zero value is ready to use.
type Encoder struct{ c *C.struct_encoder }

// Append is like deflate.Encoder.Append.
func (e *Encoder) Append(dst, b []byte, window int) []byte {
	n := len(b) - window
	if n == 0 {
		return deflate.AppendStored(dst, nil)
	}
	if e.c == nil {
		e.c = (*C.struct_encoder)(C.malloc(C.sizeof_struct_encoder)) // malloc does not return if memory runs out
		runtime.AddCleanup(e, func(c *C.struct_encoder) { C.free(unsafe.Pointer(c)) }, e.c)
	}
	start, room := len(dst), deflate.Bound(n)
	dst = slices.Grow(dst, room)
	out := dst[start : start+room]
	size := C.append(e.c, (*C.uint8_t)(&b[0]), C.uint32_t(window), C.uint32_t(n), (*C.uint8_t)(&out[0]), C.uint32_t(room))
	runtime.KeepAlive(e)
	if size == 0 {
		return deflate.AppendStored(dst, b[window:])
	}
	return dst[:start+int(size)]
}
