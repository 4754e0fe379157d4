// Everything at once.
#pragma once

#include <millrace/address.h>
#include <millrace/buffer.h>
#include <millrace/config.h>
#include <millrace/datagram.h>
#include <millrace/error.h>
#include <millrace/runtime.h>
#include <millrace/stack.h>
#include <millrace/time.h>
#include <millrace/timer.h>
#include <millrace/udp.h>
