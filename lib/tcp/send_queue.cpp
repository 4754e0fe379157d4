#include "tcp/send_queue.h"

namespace millrace::tcp {

void SendQueue::acknowledge(uint32_t bytes) {
    pinned_ -= buf::pinned_in_front(chain_, bytes);
    chain_.trim_front(bytes);
    if (bytes >= position_) {
        cursor_ = {};
        position_ = 0;
        return;
    }
    position_ -= bytes;
    // Trimming moved the start of the first buffer; a cursor within it counts from there.
    if (cursor_.storage == BufferAccess::head(chain_)) cursor_.offset = position_;
}

buf::Cursor SendQueue::seek(uint32_t offset) {
    if (cursor_.storage == nullptr || offset < position_) {
        cursor_ = {BufferAccess::head(chain_), 0};
        position_ = 0;
    }
    buf::Cursor cursor = cursor_;
    if (cursor.storage != nullptr) buf::advance(cursor, offset - position_);
    return cursor;
}

}  // namespace millrace::tcp
